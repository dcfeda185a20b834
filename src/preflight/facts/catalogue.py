"""Every fact that a probe delivers: its path, unit and meaning.

Apart from the probes, since the program needs the names and not the code that measures: that runs
in the reader.
"""

from __future__ import annotations

from preflight.model.facts import Fact

HOST = (
    Fact("host.os", "text", "linux, darwin or windows"),
    Fact("host.arch", "text", "the processor's architecture"),
    Fact("host.kernel", "text", "the kernel's release"),
    Fact("host.hostname", "text", "the machine's name", True),
    Fact("host.container", "boolean", "whether this process runs inside a container"),
    Fact("host.memory.total", "bytes", "the machine's RAM"),
    Fact("host.memory.available", "bytes", "RAM that new programs can have now, without swapping"),
    Fact(
        "host.memory.limit", "bytes", "the lowest cgroup limit on this process; absent where none"
    ),
    Fact("host.memory.usable", "bytes", "what this process may use: min(total, limit)"),
    Fact("host.swap.total", "bytes", "swap space; absent where none"),
    Fact("host.swap.free", "bytes", "swap space not in use"),
    Fact("host.cpu.logical", "cores", "the machine's logical CPUs"),
    Fact("host.cpu.physical", "cores", "the machine's physical cores"),
    Fact("host.cpu.usable", "cores", "what this process may use: min(affinity, cgroup quota)"),
)

DISK = (
    Fact("host.disk.path", "text", "the folder that `--path` names", True),
    Fact("host.disk.filesystem", "text", "the filesystem's type"),
    Fact("host.disk.readonly", "boolean", "whether it is mounted read-only"),
    Fact("host.disk.total", "bytes", "its size"),
    Fact("host.disk.free", "bytes", "what an ordinary user can still write"),
    Fact("host.disk.kind", "text", "ssd or hdd; unknown on virtual disks"),
)

DOCKER = (
    Fact("docker.endpoint", "text", "the engine's address", True),
    Fact("docker.context", "text", "the docker context in use"),
    Fact("docker.local", "boolean", "whether the address is one of this machine's own"),
    Fact("docker.reachable", "boolean", "whether an engine answers there"),
    Fact("docker.problem.kind", "text", "what keeps it from answering; absent where it answers"),
    Fact("docker.problem.reason", "text", "the same in words; absent where it answers"),
    Fact("docker.candidates", "list", "sockets of other engines; absent where none or not needed"),
    Fact(
        "docker.engine", "text", "docker, docker-desktop, podman, colima, orbstack, rancher-desktop"
    ),
    Fact("docker.version", "version", "the engine's version"),
    Fact("docker.api", "version", "the newest API version it speaks"),
    Fact("docker.platform", "text", "the system and processor that its containers see"),
    Fact("docker.native", "boolean", "whether its files and processes are seen from here"),
    Fact("docker.rootless", "boolean", "whether it runs without root"),
    Fact("docker.warnings", "list", "what it warns of itself"),
    Fact(
        "docker.memory.total", "bytes", "RAM as the daemon sees it: the VM's under Docker Desktop"
    ),
    Fact(
        "docker.memory.limit",
        "bytes",
        "the lowest cgroup limit over its containers; absent where none",
    ),
    Fact("docker.memory.usable", "bytes", "min(total, limit)"),
    Fact(
        "docker.memory.available",
        "bytes",
        "free for this stack now; its own containers count as free",
    ),
    Fact("docker.cpus", "cores", "CPUs as the daemon sees them"),
    Fact("docker.cgroup.version", "number", "1 or 2"),
    Fact("docker.limits.memory", "boolean", "whether memory limits of containers bind"),
    Fact("docker.limits.cpus", "boolean", "whether CPU limits of containers bind"),
    Fact("docker.disk.root", "text", "the folder where the engine keeps its data", True),
    Fact("docker.disk.free", "bytes", "what can still be written there"),
    Fact(
        "docker.disk.reclaimable", "bytes", "size of images that no container uses: an upper bound"
    ),
    Fact("docker.storage.driver", "text", "the storage driver"),
    Fact("docker.log.driver", "text", "the default logging driver"),
    Fact("docker.log.rotated", "boolean", "whether that driver drops old logs by itself"),
    Fact("docker.swarm.state", "text", "inactive, pending, active, error or locked"),
)

COMPOSE = (
    Fact("compose.files", "list", "the compose files; absent where there is none", True),
    Fact("compose.project", "text", "the project's name"),
    Fact("compose.source", "text", "who put the files together: cli, or fallback without it"),
    Fact("compose.problem", "text", "why the files can't be used; absent where they can"),
    Fact("compose.caveats", "list", "what the fallback could not do; absent where nothing"),
    Fact("compose.services.*", "map", "an active service"),
    Fact(
        "compose.services.*.known_as", "list", "its name, and its image's without registry and tag"
    ),
    Fact("compose.services.*.image", "text", "its image; absent where it is only built"),
    Fact("compose.services.*.replicas", "number", "how many containers it has"),
    Fact("compose.services.*.limits.memory", "bytes", "its memory limit, of deploy or mem_limit"),
    Fact("compose.services.*.limits.cpus", "cores", "its CPU limit, of deploy or cpus"),
    Fact("compose.services.*.reservations.memory", "bytes", "its memory reservation"),
    Fact(
        "compose.services.*.reservations.cpus", "cores", "its CPU reservation; binds in Swarm alone"
    ),
    Fact("compose.services.*.environment.*", "text", "a variable of its containers", True),
    Fact("compose.services.*.ports", "list", "the ports that it publishes"),
    Fact("compose.services.*.mounts", "list", "its volumes and bind mounts", True),
    Fact("compose.services.*.platform", "text", "the platform that it asks for"),
    Fact(
        "compose.services.*.gpus",
        "number",
        "how many GPUs it asks for, -1 for all; absent where none",
    ),
    Fact(
        "compose.services.*.log.driver",
        "text",
        "its logging driver; absent where it takes Docker's",
    ),
    Fact("compose.services.*.log.rotated", "boolean", "whether the file lets its logs be rotated"),
    Fact("compose.total.limits.memory", "bytes", "the sum over services and replicas"),
    Fact("compose.total.limits.cpus", "cores", "the sum over services and replicas"),
    Fact("compose.total.reservations.memory", "bytes", "the sum over services and replicas"),
    Fact("compose.total.reservations.cpus", "cores", "the sum over services and replicas"),
)

START = (
    Fact(
        "start.services.*.port_clash",
        "list",
        "ports it can't publish beside the others' or its own",
    ),
    Fact(
        "start.services.*.mounts_missing",
        "list",
        "files it mounts that Docker refuses to make",
        True,
    ),
    Fact(
        "start.services.*.mounts_created", "list", "paths it mounts that become empty folders", True
    ),
    Fact(
        "start.services.*.env_files_missing", "list", "its env_file entries that aren't there", True
    ),
    Fact(
        "start.services.*.platform_runs", "boolean", "whether the engine runs the platform it names"
    ),
    Fact("start.services.*.conflict", "text", "what Compose refuses it for; absent where nothing"),
    Fact("docker.gpus", "boolean", "whether the engine can hand GPUs to containers"),
    Fact("docker.compose.version", "version", "Compose's version; absent where not installed"),
    Fact("compose.needs.version", "version", "the oldest Compose that knows all the files use"),
    Fact("compose.needs.feature", "text", "what needs it; absent where nothing newer than 2.0"),
    Fact("compose.needs.met", "boolean", "whether the installed Compose is as new as that"),
    Fact("compose.variables.missing", "list", "required variables without a value; absent if none"),
    Fact("compose.variables.unset", "list", "variables that are blank for want of a value"),
)

PORTS = (
    Fact("host.ports.*", "map", "a port that the project publishes, such as 8000 or 53/udp"),
    Fact("host.ports.*.free", "boolean", "whether nothing but this project's containers has it"),
    Fact("host.ports.*.holder", "text", "who has it; absent where it is free"),
    Fact("host.ports.*.service", "text", "the services that publish it"),
    Fact("host.ports.*.address", "text", "the addresses it is published on, 0.0.0.0 for all"),
)

STACK = (
    Fact("stack.containers.*.service", "text", "its service in the compose file"),
    Fact(
        "stack.containers.*.state", "text", "running, exited, restarting, created, paused or dead"
    ),
    Fact("stack.containers.*.exit_code", "number", "of its last run; absent while it runs"),
    Fact("stack.containers.*.restarts", "number", "how often the engine restarted it"),
    Fact("stack.containers.*.restarting", "boolean", "whether it is in a loop of restarts"),
    Fact(
        "stack.containers.*.oom_killed",
        "boolean",
        "whether lack of memory killed it or a process of it",
    ),
    Fact(
        "stack.containers.*.oom_certainty",
        "text",
        "certain, likely or possible; absent where not killed",
    ),
    Fact("stack.containers.*.oom_evidence", "text", "what tells so; absent where not killed"),
    Fact(
        "stack.containers.*.memory.usage",
        "bytes",
        "what it uses without page cache; absent when stopped",
    ),
    Fact("stack.containers.*.memory.configured", "bytes", "its own limit; absent where none"),
    Fact("stack.containers.*.memory.limit", "bytes", "the limit that binds; absent where none"),
    Fact(
        "stack.containers.*.memory.parent",
        "bytes",
        "a lower one of a cgroup above it; absent where none",
    ),
    Fact("stack.containers.*.cpus", "cores", "its CPU limit; absent where none"),
    Fact("stack.containers.*.environment.*", "text", "a variable it was made with", True),
    Fact("stack.containers.*.image", "text", "the image as it was asked for"),
    Fact("stack.containers.*.started_at", "text", "when it was last started; absent where never"),
    Fact(
        "stack.containers.*.log.rotated", "boolean", "whether its logging drops old logs by itself"
    ),
    Fact(
        "stack.containers.*.drift",
        "list",
        "what differs from the compose file; absent where nothing",
    ),
)

SWARM = (
    Fact(
        "docker.swarm.stack", "text", "how this project runs: stack or compose; absent if neither"
    ),
    Fact("docker.swarm.ready", "number", "number of nodes that take tasks: ready and active"),
    Fact("docker.swarm.managers", "number", "number of managers that are reachable"),
    Fact("docker.swarm.nodes.*.role", "text", "role of a node: manager or worker"),
    Fact(
        "docker.swarm.nodes.*.state", "text", "state of a node: ready, down, unknown, disconnected"
    ),
    Fact("docker.swarm.nodes.*.availability", "text", "active, pause or drain"),
    Fact("docker.swarm.nodes.*.cpus", "cores", "CPUs of a node"),
    Fact("docker.swarm.nodes.*.memory", "bytes", "RAM of a node"),
    Fact("docker.swarm.nodes.*.labels.*", "text", "a label of a node", True),
    Fact("docker.swarm.nodes.*.free.cpus", "cores", "CPUs not reserved by other projects' tasks"),
    Fact("docker.swarm.nodes.*.free.memory", "bytes", "RAM not reserved by other projects' tasks"),
    Fact("docker.swarm.services.*.tasks", "number", "number of tasks of a service of the project"),
    Fact("docker.swarm.services.*.nodes", "list", "nodes that may run it; absent if none"),
    Fact("docker.swarm.services.*.memory", "bytes", "RAM that a task reserves; absent if none"),
    Fact("docker.swarm.services.*.cpus", "cores", "CPUs that a task reserves; absent if none"),
    Fact("docker.swarm.services.*.fits", "boolean", "whether some node has room for one task"),
    Fact("docker.swarm.services.*.reason", "text", "why not, with figures; absent if it fits"),
    Fact("docker.swarm.services.*.pending", "number", "number of its tasks that wait for a node"),
    Fact(
        "docker.swarm.services.*.waits_for", "text", "why, as Swarm says it; absent if none waits"
    ),
    Fact("docker.swarm.unplaced", "list", "tasks for which no node is found; absent if none"),
)

OLLAMA = (
    Fact(
        "ollama.settings.*.keep_alive",
        "seconds",
        "how long an unused model stays loaded, -1 for ever; as Ollama reads OLLAMA_KEEP_ALIVE",
    ),
    Fact(
        "ollama.settings.*.num_parallel",
        "number",
        "requests at a time; absent where left to Ollama",
    ),
    Fact(
        "ollama.settings.*.max_loaded_models", "number", "models at a time; absent where left to it"
    ),
    Fact(
        "ollama.settings.*.context_length", "number", "tokens of context; absent where left to it"
    ),
    Fact("ollama.settings.*.ignored", "list", "values that it silently ignores; absent where none"),
    Fact("ollama.service", "text", "the compose service that runs Ollama; absent where none"),
    Fact("ollama.endpoint", "text", "where it is asked; absent where no port leads to it", True),
    Fact("ollama.reachable", "boolean", "whether Ollama answers there"),
    Fact("ollama.problem", "text", "what keeps it from answering well; absent where it does"),
    Fact("ollama.version", "version", "its version"),
    Fact("ollama.models.*.size", "bytes", "a model that it has: its size on disk"),
    Fact("ollama.loaded.*.memory", "bytes", "a model that is loaded now: the RAM that it holds"),
    Fact("ollama.loaded.*.total", "bytes", "the same with what it holds of GPUs"),
    Fact("model.name", "text", "the configured model, OLLAMA_MODEL; absent where not set"),
    Fact("model.size", "bytes", "its size on disk; absent where Ollama doesn't have it"),
    Fact("model.resident", "bytes", "the RAM that it holds now; absent where it isn't loaded"),
    Fact("model.estimate", "bytes", "what it will need, estimated of its shape and the settings"),
)

MODEL = (
    Fact("model.listed", "text", "what the rule file calls the configured model; absent if not"),
    Fact("model.memory", "bytes", "what the configured model needs"),
    Fact("model.estimated", "boolean", "whether that is an estimate"),
    Fact("model.budget", "bytes", "what a model may use: the least of limit, Docker's and host's"),
    Fact("model.best", "text", "the largest model of the catalogue that fits; absent where none"),
    Fact("model.alternatives", "list", "all that fit, the largest first; absent where none"),
)

OLLAMA_VARIABLES = frozenset(
    f"OLLAMA_{name}"
    for name in ("MODEL", "KEEP_ALIVE", "NUM_PARALLEL", "MAX_LOADED_MODELS", "CONTEXT_LENGTH")
)
"""Variables whose values facts of their own tell: to ask for these facts is to ask for them."""

ENV = (
    Fact("env.*", "text", "an environment variable of this process; absent where not set", True),
)
