"""Every fact: its path, unit and meaning, one line each.

Apart from the code that measures, because the program needs the names without importing that.
"""

from __future__ import annotations

from preflight.model.facts import Fact

HOST_FACTS = (
    Fact("host.os", "text", "linux, darwin or windows"),
    Fact("host.arch", "text", "processor architecture"),
    Fact("host.kernel", "text", "kernel release"),
    Fact("host.hostname", "text", "name of the machine"),
    Fact("host.distribution.id", "text", "Linux distribution, such as debian: os-release's ID"),
    Fact("host.distribution.version", "version", "its version, such as 12; absent if rolling"),
    Fact("host.distribution.name", "text", "its name, such as Debian GNU/Linux 12 (bookworm)"),
    Fact("host.virtualization", "text", "none, kvm, vmware, wsl, lxc, docker: what it runs in"),
    Fact("host.container", "boolean", "whether preflight runs inside a container"),
    Fact("host.memory.total", "bytes", "RAM of the machine"),
    Fact("host.memory.available", "bytes", "RAM that new programs can use now without swapping"),
    Fact("host.memory.limit", "bytes", "lowest cgroup limit on this process; absent if none"),
    Fact("host.memory.usable", "bytes", "RAM that this process may use: min(total, limit)"),
    Fact("host.swap.total", "bytes", "swap space; absent if none"),
    Fact("host.swap.free", "bytes", "unused swap space; absent if none"),
    Fact("host.cpu.logical", "cores", "logical CPUs of the machine"),
    Fact("host.cpu.physical", "cores", "physical cores of the machine"),
    Fact("host.cpu.flags", "list", "instruction sets that all CPUs have, as Linux calls them"),
    Fact("host.cpu.usable", "cores", "CPUs that this process may use: min(affinity, cgroup quota)"),
)

DISK_FACTS = (
    Fact("host.disk.path", "text", "the folder given by `--path`"),
    Fact("host.disk.parent", "text", "nearest parent that exists, if `--path` doesn't yet"),
    Fact("host.disk.filesystem", "text", "filesystem type, such as ext4"),
    Fact("host.disk.readonly", "boolean", "whether it is mounted read-only"),
    Fact("host.disk.total", "bytes", "size of the filesystem"),
    Fact("host.disk.free", "bytes", "space that an ordinary user can still write"),
    Fact("host.disk.kind", "text", "ssd or hdd; unknown on virtual disks"),
)

DOCKER_FACTS = (
    Fact("docker.endpoint", "text", "address of the engine"),
    Fact("docker.context", "text", "the docker context in use"),
    Fact("docker.local", "boolean", "whether the engine's address is on this machine"),
    Fact("docker.reachable", "boolean", "whether an engine answers at the address"),
    Fact("docker.problem.kind", "text", "kind of the connection problem; absent if reachable"),
    Fact("docker.problem.reason", "text", "the connection problem in words; absent if reachable"),
    Fact("docker.candidates", "list", "sockets of other engines; absent if none or not needed"),
    Fact("docker.engine", "text", "docker, podman, or docker-desktop, colima and other VMs"),
    Fact("docker.version", "version", "version of the engine"),
    Fact("docker.edition", "text", "such as Docker Engine - Community; absent if a distribution's"),
    Fact("docker.api", "version", "newest API version that the engine supports"),
    Fact("docker.platform", "text", "platform of its containers, such as linux/amd64"),
    Fact("docker.native", "boolean", "whether its processes and files are visible from here"),
    Fact("docker.rootless", "boolean", "whether the engine runs without root"),
    Fact("docker.warnings", "list", "warnings that the engine gives about itself"),
    Fact("docker.memory.total", "bytes", "RAM that the daemon sees: the VM's under Docker Desktop"),
    Fact("docker.memory.limit", "bytes", "lowest cgroup limit over its containers; absent if none"),
    Fact("docker.memory.usable", "bytes", "RAM for all containers: min(total, limit)"),
    Fact("docker.memory.available", "bytes", "RAM free for this stack, and what it uses already"),
    Fact("docker.cpus", "cores", "CPUs that the daemon sees"),
    Fact("docker.cpuset", "text", "CPUs of its machine, such as 0-3"),
    Fact("docker.cpus_limit", "cores", "CPU quota over its containers; absent if none"),
    Fact("docker.runtimes", "list", "runtimes that it is configured with"),
    Fact("docker.plugins.volume", "list", "volume drivers that it knows by now"),
    Fact("docker.plugins.network", "list", "network drivers that it knows by now"),
    Fact("docker.plugins.log", "list", "logging drivers that it knows by now"),
    Fact("docker.cgroup.version", "number", "version of control groups: 1 or 2"),
    Fact("docker.limits.memory", "boolean", "whether memory limits of containers are enforced"),
    Fact("docker.limits.swap", "boolean", "whether limits on swap are enforced"),
    Fact("docker.cgroup.driver", "text", "cgroupfs, systemd, or none: no limit is enforced"),
    Fact("docker.limits.cpus", "boolean", "whether CPU limits of containers are enforced"),
    Fact("docker.disk.root", "text", "folder where the engine keeps its data"),
    Fact("docker.disk.free", "bytes", "space that is left there"),
    Fact("docker.disk.reclaimable", "bytes", "size of unused images: an upper bound"),
    Fact("docker.storage.driver", "text", "storage driver"),
    Fact("docker.log.driver", "text", "default logging driver"),
    Fact("docker.log.rotated", "boolean", "whether the default logging driver drops old logs"),
    Fact("docker.swarm.state", "text", "inactive, pending, active, error or locked"),
)

COMPOSE_FACTS = (
    Fact("compose.files", "list", "the compose files; absent if there are none"),
    Fact("compose.project", "text", "name of the project"),
    Fact("compose.source", "text", "who merged the files: cli (Compose), or fallback"),
    Fact("compose.problem", "text", "why the files can't be used; absent if they can"),
    Fact("compose.caveats", "list", "what the fallback did not do; absent if nothing"),
    Fact("compose.services.*", "map", "an active service"),
    Fact("compose.services.*.known_as", "list", "its name, and its image's name if it runs that"),
    Fact("compose.services.*.image", "text", "its image; absent if it is only built"),
    Fact(
        "compose.services.*.repository", "text", "its image without tag; Docker Hub's name left out"
    ),
    Fact("compose.services.*.tag", "text", "the tag of its image; absent if a digest names it"),
    Fact("compose.services.*.replicas", "number", "number of containers"),
    Fact("compose.services.*.limits.memory", "bytes", "memory limit, of deploy or mem_limit"),
    Fact("compose.services.*.limits.cpus", "cores", "CPU limit, of deploy or cpus"),
    Fact("compose.services.*.limits.memory_swap", "bytes", "limit on memory and swap together"),
    Fact(
        "compose.services.*.heap.initial", "bytes", "initial Java heap, of -Xms; absent if not set"
    ),
    Fact("compose.services.*.heap.max", "bytes", "largest Java heap, of -Xmx; absent if not set"),
    Fact("compose.services.*.reservations.memory", "bytes", "memory reservation"),
    Fact("compose.services.*.reservations.cpus", "cores", "CPU reservation; only Swarm uses it"),
    Fact("compose.services.*.resource_keys", "list", "the keys that set these; absent if none"),
    Fact("compose.services.*.environment.*", "text", "a variable of its containers"),
    Fact("compose.services.*.ports", "list", "the ports that it publishes"),
    Fact("compose.services.*.mounts", "list", "its volumes and bind mounts"),
    Fact("compose.services.*.mount_targets", "list", "paths in its containers that are mounted"),
    Fact("compose.services.*.cgroup_parent", "text", "the cgroup that its containers run in"),
    Fact("compose.services.*.container_name", "text", "name of its container; absent if Compose's"),
    Fact("compose.services.*.cpuset", "text", "CPUs that it may use, such as 0-3; absent for all"),
    Fact("compose.services.*.depends_on.*", "text", "condition that a required service must meet"),
    Fact("compose.services.*.devices", "list", "devices of the host that it asks for"),
    Fact(
        "compose.services.*.healthcheck", "boolean", "if the file sets one; absent for the image's"
    ),
    Fact("compose.services.*.network_mode", "text", "none, host, or another container's network"),
    Fact(
        "compose.services.*.pull_policy", "text", "when Compose pulls its image; absent if not set"
    ),
    Fact("compose.services.*.runtime", "text", "runtime of its containers; absent for the default"),
    Fact("compose.services.*.sysctls.*", "text", "a kernel setting of its containers"),
    Fact("compose.services.*.user", "text", "user of its containers; absent for the image's"),
    Fact(
        "compose.services.*.program", "text", "what it starts; absent for the image's own program"
    ),
    Fact(
        "compose.services.*.filled_targets", "list", "paths in its containers that hold data by now"
    ),
    Fact("compose.services.*.platform", "text", "the platform that it asks for"),
    Fact("compose.services.*.gpus", "number", "GPUs that it asks for, -1 for all; absent if none"),
    Fact("compose.services.*.log.driver", "text", "logging driver; absent for Docker's default"),
    Fact("compose.services.*.log.rotated", "boolean", "whether its logging drops old logs"),
    Fact("compose.total.limits.memory", "bytes", "sum of memory limits over replicas"),
    Fact("compose.total.limits.cpus", "cores", "sum of CPU limits over replicas"),
    Fact("compose.total.reservations.memory", "bytes", "sum of memory reservations over replicas"),
    Fact("compose.total.reservations.cpus", "cores", "sum of CPU reservations over replicas"),
)

START_FACTS = (
    Fact("start.services.*.port_clash", "list", "conflicts between the ports that are published"),
    Fact("start.services.*.mounts_missing", "list", "mounted files that Docker won't create"),
    Fact("start.services.*.mounts_created", "list", "missing paths, made empty folders"),
    Fact("start.services.*.files_created", "list", "those of them that look like files"),
    Fact(
        "start.services.*.mounts_mismatched", "list", "folders over files, and files over folders"
    ),
    Fact("start.services.*.mounts_stale", "list", "empty folders that stand where a file is meant"),
    Fact("start.services.*.mounts_denied", "list", "mounts that its user can't read or write"),
    Fact("start.services.*.mounts_unlabeled", "list", "mounts that SELinux keeps from containers"),
    Fact("start.services.*.env_files_missing", "list", "missing files of its env_file"),
    Fact("start.services.*.platform_runs", "boolean", "whether the engine can run its platform"),
    Fact("start.services.*.conflict", "text", "why Compose rejects it; absent if it doesn't"),
    Fact("start.services.*.build.context", "text", "folder or address of its build context"),
    Fact("start.services.*.build.dockerfile", "text", "its Dockerfile; absent if it is inline"),
    Fact("start.services.*.build.local", "boolean", "whether the context is a folder here"),
    Fact("start.services.*.build.builder", "text", "buildkit, classic or buildah"),
    Fact("start.services.*.build.required", "boolean", "whether `up` must build it first"),
    Fact("start.services.*.build.problems", "list", "what stops the build; absent if nothing does"),
    Fact("start.services.*.build.kinds", "list", "kinds of these problems, such as ignored"),
    Fact("start.services.*.build.error", "text", "what the builder says; absent if nothing"),
    Fact(
        "start.services.*.cpuset_refused",
        "text",
        "what the engine says to its cpuset; absent if it has it",
    ),
    Fact("start.services.*.cpus", "cores", "its CPU limit"),
    Fact("start.services.*.cpus_limit", "cores", "CPU quota over its containers; absent if none"),
    Fact("start.services.*.devices_missing", "list", "devices that aren't on the engine's machine"),
    Fact("start.services.*.device_refused", "text", "what is said to the first; absent if there"),
    Fact(
        "start.services.*.name_refused",
        "text",
        "what is said to its container_name; absent if free",
    ),
    Fact("start.services.*.containers_missing", "list", "containers that it names, not there"),
    Fact(
        "start.services.*.runtime_refused", "text", "what is said to its runtime; absent if there"
    ),
    Fact(
        "start.services.*.log_driver_refused",
        "text",
        "what is said to its log driver, if not there",
    ),
    Fact("start.services.*.sysctls_refused", "list", "kernel settings that containers can't have"),
    Fact("start.services.*.privileged_ports", "list", "ports that only root may publish"),
    Fact("start.services.*.healthchecks_missing", "list", "services waited for, without a check"),
    Fact("start.services.*.dependency_refused", "text", "what Compose says to the first of them"),
    Fact("start.services.*.images_missing", "list", "images of those that aren't here to look at"),
    Fact("start.networks.*.name", "text", "a network that the services use"),
    Fact("start.networks.*.external", "boolean", "whether Compose expects that it exists"),
    Fact("start.networks.*.driver", "text", "its driver; absent for the default"),
    Fact("start.networks.*.exists", "boolean", "whether the engine has it"),
    Fact("start.networks.*.driver_refused", "text", "what is said to its driver; absent if there"),
    Fact("start.networks.*.overlap", "text", "network with an overlapping subnet; absent if none"),
    Fact("start.volumes.*.name", "text", "a volume that the services use"),
    Fact("start.volumes.*.external", "boolean", "whether Compose expects that it exists"),
    Fact("start.volumes.*.driver", "text", "its driver; absent for the default"),
    Fact("start.volumes.*.exists", "boolean", "whether the engine has it"),
    Fact("start.volumes.*.driver_refused", "text", "what is said to its driver; absent if there"),
    Fact("start.services.*.image.name", "text", "the name of its image"),
    Fact("start.services.*.image.invalid", "text", "why its name isn't valid; absent if it is"),
    Fact("start.services.*.image.pull_policy", "text", "missing, always, never, build and others"),
    Fact("start.services.*.image.present", "boolean", "whether the engine has its image"),
    Fact("start.services.*.image.platform", "text", "its platform; absent if not there"),
    Fact("start.services.*.image.platform_runs", "boolean", "whether the engine can run that"),
    Fact("start.services.*.image.helper_missing", "text", "missing credential helper, if needed"),
    Fact("docker.gpus", "boolean", "whether the engine can give GPUs to containers"),
    Fact("docker.compose.version", "version", "version of Compose; absent if not installed"),
    Fact("compose.needs.version", "version", "oldest Compose that supports all the files use"),
    Fact("compose.needs.feature", "text", "the feature that needs it; absent if 2.0 is enough"),
    Fact("compose.needs.met", "boolean", "whether the installed Compose is new enough"),
    Fact("compose.variables.missing", "list", "required variables without a value; absent if none"),
    Fact("compose.variables.unset", "list", "variables without a value; absent if none"),
)

REGISTRY_FACTS = (
    Fact("registry.images.*", "map", "an image that will be pulled; measured with --online"),
    Fact("registry.images.*.services", "list", "the services that need it"),
    Fact("registry.images.*.exists", "boolean", "whether its registry has it, for this login"),
    Fact("registry.images.*.error", "text", "what Docker will say; absent if it can pull it"),
    Fact("registry.images.*.platforms", "list", "the platforms that it is there for"),
    Fact("registry.images.*.platform_matches", "boolean", "whether one is the engine's"),
    Fact("registry.images.*.size", "bytes", "size of its layers as they are sent"),
)

PORTS_FACTS = (
    Fact("host.ports.*", "map", "a port that the project publishes, such as 8000 or 53/udp"),
    Fact("host.ports.*.free", "boolean", "whether it is free, or used by this project"),
    Fact("host.ports.*.holder", "text", "who uses it; absent if free"),
    Fact("host.ports.*.service", "text", "the services that publish it"),
    Fact("host.ports.*.address", "text", "addresses it is published on, 0.0.0.0 for all"),
)

STACK_FACTS = (
    Fact("stack.containers.*.service", "text", "its service in the compose file"),
    Fact("stack.containers.*.state", "text", "running, exited, restarting, created, paused, dead"),
    Fact("stack.containers.*.exit_code", "number", "of its last run; absent while it runs"),
    Fact("stack.containers.*.restarts", "number", "how often the engine restarted it"),
    Fact("stack.containers.*.restarting", "boolean", "whether it restarts again and again"),
    Fact("stack.containers.*.oom_killed", "boolean", "whether it was killed for lack of memory"),
    Fact("stack.containers.*.oom_certainty", "text", "certain, likely or possible; absent if none"),
    Fact("stack.containers.*.oom_evidence", "text", "the signals of it; absent if not killed"),
    Fact("stack.containers.*.memory.usage", "bytes", "memory in use; absent if stopped"),
    Fact("stack.containers.*.memory.configured", "bytes", "its own memory limit; absent if none"),
    Fact("stack.containers.*.memory.limit", "bytes", "lowest limit over it; absent if none"),
    Fact("stack.containers.*.memory.parent", "bytes", "lower limit of a parent cgroup, if any"),
    Fact("stack.containers.*.cpus", "cores", "its CPU limit; absent if none"),
    Fact("stack.containers.*.environment.*", "text", "a variable that it was created with"),
    Fact("stack.containers.*.image", "text", "its image, as it was named"),
    Fact("stack.containers.*.started_at", "text", "time of its last start; absent if never"),
    Fact("stack.containers.*.log.rotated", "boolean", "whether its logging drops old logs"),
    Fact("stack.containers.*.drift", "list", "differences from the compose file; absent if none"),
)

SWARM_FACTS = (
    Fact("docker.swarm.stack", "text", "how this project runs: stack or compose; absent if not"),
    Fact("docker.swarm.ready", "number", "number of nodes that take tasks: ready and active"),
    Fact("docker.swarm.managers", "number", "number of managers that are reachable"),
    Fact("docker.swarm.nodes.*.role", "text", "role of a node: manager or worker"),
    Fact("docker.swarm.nodes.*.state", "text", "state of a node, such as ready or down"),
    Fact("docker.swarm.nodes.*.availability", "text", "active, pause or drain"),
    Fact("docker.swarm.nodes.*.cpus", "cores", "CPUs of a node"),
    Fact("docker.swarm.nodes.*.memory", "bytes", "RAM of a node"),
    Fact("docker.swarm.nodes.*.labels.*", "text", "a label of a node"),
    Fact("docker.swarm.nodes.*.free.cpus", "cores", "CPUs not reserved by other projects' tasks"),
    Fact("docker.swarm.nodes.*.free.memory", "bytes", "RAM not reserved by other projects' tasks"),
    Fact("docker.swarm.services.*.tasks", "number", "number of tasks of a service of the project"),
    Fact("docker.swarm.services.*.nodes", "list", "nodes that may run it; absent if none"),
    Fact("docker.swarm.services.*.memory", "bytes", "RAM that a task reserves; absent if none"),
    Fact("docker.swarm.services.*.cpus", "cores", "CPUs that a task reserves; absent if none"),
    Fact("docker.swarm.services.*.fits", "boolean", "whether some node has room for one task"),
    Fact("docker.swarm.services.*.reason", "text", "why not, with figures; absent if it fits"),
    Fact("docker.swarm.services.*.pending", "number", "number of its tasks that wait for a node"),
    Fact("docker.swarm.services.*.waits_for", "text", "reason that Swarm gives; absent if none"),
    Fact("docker.swarm.unplaced", "list", "tasks for which no node is found; absent if none"),
)

OLLAMA_FACTS = (
    Fact("ollama.settings.*.keep_alive", "seconds", "time an idle model stays loaded, -1 for ever"),
    Fact("ollama.settings.*.num_parallel", "number", "parallel requests; absent if automatic"),
    Fact("ollama.settings.*.max_loaded_models", "number", "loaded models; absent if automatic"),
    Fact("ollama.settings.*.context_length", "number", "context in tokens; absent if automatic"),
    Fact("ollama.settings.*.ignored", "list", "values that Ollama ignores; absent if none"),
    Fact("ollama.service", "text", "the compose service that runs Ollama; absent if none"),
    Fact("ollama.endpoint", "text", "address of Ollama; absent if no port is published"),
    Fact("ollama.reachable", "boolean", "whether Ollama is reachable"),
    Fact("ollama.problem", "text", "why Ollama can't be used; absent if it can"),
    Fact("ollama.version", "version", "version of Ollama"),
    Fact("ollama.models.*.size", "bytes", "size on disk of a model that Ollama has"),
    Fact("ollama.loaded.*.memory", "bytes", "RAM that a loaded model holds"),
    Fact("ollama.loaded.*.total", "bytes", "RAM and GPU memory that a loaded model holds"),
    Fact("model.name", "text", "the configured model, OLLAMA_MODEL; absent if not set"),
    Fact("model.size", "bytes", "size on disk of the configured model; absent if Ollama lacks it"),
    Fact("model.resident", "bytes", "RAM that it holds now; absent if it isn't loaded"),
    Fact("model.estimate", "bytes", "memory that it will need, estimated from its shape"),
)

DERIVED_FACTS = (
    Fact("model.listed", "text", "name of that model in the rule file; absent if not there"),
    Fact("model.memory", "bytes", "memory that the configured model needs"),
    Fact("model.estimated", "boolean", "whether that is an estimate"),
    Fact("model.budget", "bytes", "memory that a model may use: the least of all limits"),
    Fact("model.best", "text", "the largest model of the rule file that fits; absent if none"),
    Fact("model.gpu", "boolean", "whether the service that runs the model is given a GPU"),
    Fact("model.alternatives", "list", "all models that fit, the largest first; absent if none"),
    *(
        Fact(f"kernel.sysctl{'.*' * parts}", "number", "a setting of the kernel of the containers")
        for parts in range(1, 6)
    ),
    Fact("env.*", "text", "an environment variable of preflight; absent if not set"),
)

OLLAMA_VARIABLES = frozenset(
    f"OLLAMA_{name}"
    for name in ("MODEL", "KEEP_ALIVE", "NUM_PARALLEL", "MAX_LOADED_MODELS", "CONTEXT_LENGTH")
)
"""Variables whose values other facts show: a rule about such a fact also names them."""
