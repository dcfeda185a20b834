"""A line for each further way in which a known error is written, by the error."""

# ruff: noqa: E501 - a line of a log stands on one line

from __future__ import annotations

VARIANTS: dict[str, list[str]] = {
    "docker-permission-denied": [
        "ERROR: Couldn't connect to Docker daemon at unix:///var/run/docker.sock: permission denied",
        "error during connect: Get http://%2F%2F.%2Fpipe%2Fdocker_engine/v1.40/version: open //./pipe/docker_engine: Access is denied.",
    ],
    "docker-api-version": [
        "Error response from daemon: client is newer than server (client API version: 1.24, server API version: 1.21)",
    ],
    "docker-context-missing": [
        "unable to parse docker host `10.0.0.5:2375`",
        "error during connect: Get http://docker.example.com/v1.24/info: command [ssh -l root -- host docker system dial-stdio] has exited with exit status 255, please make sure the URL is valid",
    ],
    "docker-not-reachable": [
        "Docker Desktop is manually paused. Unpause it through the Whale menu or Dashboard.",
        "Docker Desktop is unable to start",
        "Docker Desktop is starting, please wait",
    ],
    "podman-not-reachable": [
        "Error: unable to connect to Podman socket: Get http://d/v4.3.1/libpod/_ping: dial unix ///run/user/1000/podman/podman.sock: connect: connection refused",
    ],
    "docker-compose-missing": [
        "docker: unknown command: docker compose",
        "'docker-compose' is not recognized as an internal or external command,",
    ],
    "docker-desktop-virtualization": [
        "Virtual Machine Platform not enabled",
        "The Windows Subsystem for Linux is not installed. You can install by running 'wsl.exe --install'.",
        "Please enable the Virtual Machine Platform Windows feature and ensure virtualization is enabled in the BIOS.",
    ],
    "image-platform": [
        "Error response from daemon: no match for platform in manifest: not found",
        "image with reference postgres:9 was found but does not match the specified platform: wanted linux/arm64, actual: linux/amd64",
        "rosetta error: failed to open elf at /lib64/ld-linux-x86-64.so.2",
        "qemu-x86_64: Could not open '/lib64/ld-linux-x86-64.so.2': No such file or directory",
    ],
    "image-reference-invalid": [
        "failed to solve: base name (${BASE}) should not be blank",
        "failed to solve: could not parse reference: invalid reference",
    ],
    "image-login-required": [
        "Error response from daemon: denied: denied",
        "failed to authorize: failed to fetch anonymous token: unexpected status: 401 Unauthorized",
    ],
    "image-not-found": [
        "ERROR: repository team/app not found: does not exist or no pull access",
    ],
    "image-not-local": ["Error: inhouse/app:7: image not known"],
    "registry-not-reachable": [
        'failed to fetch oauth token: Post "https://auth.example.com/token": dial tcp 10.0.0.1:443: i/o timeout',
    ],
    "build-out-of-memory": [
        "failed to receive status: rpc error: code = Unavailable desc = ResourceExhausted: worker",
        "ERROR: failed to solve: process: signal: killed",
    ],
    "buildkit-required": ["Dockerfile parse error line 4: Unknown flag: mount"],
    "build-file-missing": [
        'Error: building at STEP "COPY app.py /": checking on sources: copier: stat: "/app.py": no such file or directory',
        'Error: building at STEP "COPY *.py /": no items matching glob "/src/*.py" copied (1 filtered): no such file or directory',
    ],
    "dockerfile-missing": [
        "build path /srv/app/api either does not exist, is not accessible, or is not a valid URL.",
        "Error: no Containerfile or Dockerfile specified or found in context directory, /srv/app: no such file or directory",
    ],
    "dockerfile-invalid": [
        "Error response from daemon: the Dockerfile (Dockerfile) cannot be empty"
    ],
    "compose-env-file-missing": ["ERROR: Couldn't find env file: /srv/app/.env"],
    "compose-file-missing": [
        "ERROR: Can't find a suitable configuration file in this directory or any parent. Are you in the right directory?",
    ],
    "compose-undefined-reference": [
        "ERROR: Service 'web' depends on service 'db' which is undefined.",
        "no such service: wbe",
    ],
    "compose-file-invalid": [
        "failed to parse /srv/compose.yaml: yaml: construct errors: line 3: cannot construct",
        'ERROR: Version in "./docker-compose.yml" is unsupported. You might be seeing this error because you are using the wrong Compose file version.',
        "Unsupported config option for services.web: 'dependson'",
        "(root) Additional properties are not allowed ('web' was unexpected)",
    ],
    "external-resource-missing": ["Error response from daemon: network proxy not found"],
    "dependency-not-healthy": ['container for service "db" is unhealthy'],
    "privileged-port": [
        "(13)Permission denied: AH00072: make_sock: could not bind to address [::]:80",
    ],
    "port-in-use": [
        "Error: rootlessport listen tcp 0.0.0.0:8080: bind: address already in use",
        "Error response from daemon: listen tcp 0.0.0.0:50051: bind: An attempt was made to access a socket in a way forbidden by its access permissions.",
    ],
    "container-name-in-use": [
        'Error: creating container storage: the container name "db" is already in use by 3f4e.',
        'Error: name "db" is in use: container already exists',
    ],
    "address-pool-exhausted": [
        "Error response from daemon: invalid pool request: Pool overlaps",
        "Error response from daemon: cannot create network 3f4e (br-3f4e): conflicts with network 5a6b (br-5a6b): networks have overlapping IPv4",
    ],
    "docker-firewall-rules": [
        "Error response from daemon: Failed to Setup IP tables: Unable to enable SKIP DNAT rule",
        "iptables v1.8.7 (nf_tables): Chain 'DOCKER-ISOLATION-STAGE-2' does not exist",
    ],
    "gpu-runtime-missing": [
        "Error response from daemon: Unknown runtime specified nvidia",
        'exec: "nvidia-container-runtime-hook": executable file not found in $PATH',
        "nvidia-container-runtime: executable file not found in $PATH",
    ],
    "nvidia-driver": [
        "libnvidia-ml.so.1: cannot open shared object file: no such file or directory",
        "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.",
        "CUDA driver version is insufficient for CUDA runtime version",
    ],
    "runtime-unknown": ["Error response from daemon: default runtime not found"],
    "cpuset-refused": [
        "Error response from daemon: Requested memory nodes are not available - requested 1, available: 0",
    ],
    "cpu-limits-not-supported": [
        "open /sys/fs/cgroup/cpu/docker/cpu.cfs_quota_us: no such file or directory",
    ],
    "memory-limit-refused": [
        "unable to set memory limit to 1048576 (current usage: 2097152, peak usage: 3145728)",
    ],
    "memory-limit-discarded": [
        "Resource limits are not supported and ignored on cgroups V1 rootless systems",
    ],
    "device-missing": [
        "Error: stat /dev/kvm: no such file or directory",
        "error gathering device information: /dev/x: not a device node",
    ],
    "sysctl-refused": [
        'Error response from daemon: sysctl "net.core.somaxconn": not allowed in host network namespace',
    ],
    "mount-not-shared": [
        "Error response from daemon: user declined directory sharing C:\\data",
        "Cannot share because /srv/x is not a directory",
    ],
    "mount-type-differs": [
        "OCI runtime create failed: create mountpoint for /etc/nginx/nginx.conf mount: not a directory: unknown",
    ],
    "data-folder-permissions": [
        'FATAL:  data directory "/var/lib/postgresql/data" has wrong ownership',
        "mysqld: Can't create/write to file '/var/lib/mysql/is_writable' (OS errno 13 - Permission denied)",
        "the path '/data' is not writable",
        "GF_PATHS_DATA='/var/lib/grafana' is not writable.",
        "# Can't open the append-only file: Permission denied",
    ],
    "script-line-endings": ["/bin/sh^M: bad interpreter: No such file or directory"],
    "container-command-missing": [
        "OCI runtime error: crun: executable file `curl` not found in $PATH: No such file or directory",
    ],
    "image-setting-missing": [
        "You need to specify one of the following as an environment variable:",
        "The ACCEPT_EULA environment variable must be set to Y",
    ],
    "killed-at-container-limit": [
        "Memory limit of 512 MiB exceeded with 520 MiB used. Consider increasing the memory limit",
        "oom-kill:constraint=CONSTRAINT_MEMCG",
        ",oom_memcg=/a,task_memcg=/a,task=x,pid=1",
    ],
    "host-out-of-memory": [
        "Kernel panic - not syncing: System is deadlocked on memory",
        "kernel: low swap: killing largest compressed process with pid 512 (java) and size 4000 MB",
        "oom-kill:constraint=CONSTRAINT_NONE",
        ",global_oom,task_memcg=/a,task=x,pid=1",
        "Out of memory (oom_kill_allocating_task): Killed process 4242, UID 0, (ollama)",
    ],
    "evicted-for-memory": [
        "kubelet: eviction manager: must evict pod(s) to reclaim memory",
        "The node had condition: [MemoryPressure].",
    ],
    "container-oom-killed": [
        "Warning  OOMKilling  5m  kernel-monitor",
        "app[web.1]: Error R14 (Memory quota exceeded)",
    ],
    "host-out-of-memory-likely": [
        "[1.0] Killed process 93 (mem) total-vm:520000kB, anon-rss:509000kB, file-rss:4kB, shmem-rss:0kB",
        "[1.0] Tasks in /A1 are going to be killed due to memory.oom.group set",
    ],
    "shared-memory-full": [
        "RuntimeError: unable to write to file </torch_123_456>",
        "NCCL WARN Error while creating shared memory segment /dev/shm/nccl-AbCdEf (size 9637888)",
        "ERROR: Unexpected bus error encountered in worker. This might be caused by insufficient shared memory (shm).",
        "write /dev/shm/x: no space left on device",
    ],
    "inotify-limit": [
        "inotify_add_watch failed: ENOSPC",
        "inotify_init1: too many open files",
        "fsnotify watcher: too many open files",
        "systemd[1]: Failed to allocate directory watch: Too many open files",
        "failed to create fsnotify watcher: too many open files",
    ],
    "semaphores-exhausted": [
        "semget(1, 17, 03600): No space left on device",
        "DETAIL:  Failed system call was semget(5432129, 17, 03600).",
    ],
    "disk-quota": ["write failed: EDQUOT"],
    "disk-full": [
        "no space left on device",
        'level=error msg="pull failed" error="no space left on device"',
        "sqlite3.OperationalError: database or disk is full",
        "[WARN ][o.e.c.r.a.DiskThresholdMonitor] flood stage disk watermark [95%] exceeded on [a]",
        "The node was low on resource: ephemeral-storage.",
        "disk resource limit alarm set on node rabbit@a",
    ],
    "memory-lock-limit": ["Unable to lock JVM Memory: error=12, reason=Cannot allocate memory"],
    "open-files-limit": [
        "Error: EMFILE, open '/app/x'",
        "java.net.SocketException: Too many open files",
    ],
    "process-limit": [
        "max number of threads [1024] for user [elasticsearch] is too low, increase to at least [4096]",
        "java.lang.OutOfMemoryError: unable to create native thread: possibly out of memory",
        "BlockingIOError: [Errno 11] Resource temporarily unavailable",
    ],
    "cpu-feature-missing": [
        "signal: SIGILL: code=1",
        "mongo-1 exited with code 132",
        "3f4e0123456789ab   mongo:5   Exited (132) 2 minutes ago",
        "The TensorFlow library was compiled to use AVX instructions, but these aren't available on your machine.",
    ],
    "model-needs-more-memory": [
        "Error: memory layout cannot be allocated with num_gpu = 99",
        "Error: not enough memory to load model",
        "Error: requested model deepseek-r1:70b is too large for this system",
    ],
    "gpu-out-of-memory": [
        "CUDA_ERROR_OUT_OF_MEMORY: out of memory",
        "RuntimeError: cudaErrorMemoryAllocation",
        "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "VK_ERROR_OUT_OF_DEVICE_MEMORY",
        "Native API failed: UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY",
        "jaxlib.xla_extension.XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying to allocate 17179869184 bytes.",
        "ResourceExhaustedError: OOM when allocating tensor with shape[64,512]",
        "ggml_gallocr_reserve_n: failed to allocate CUDA0 buffer of size 2628780032",
        "ggml_cuda_compute_forward: CUDA error: out of memory",
        "RuntimeError: CUDA error: out of memory",
    ],
    "vllm-kv-cache": [
        "ValueError: Free memory on device (10.1/24.0 GiB) on startup is less than desired GPU memory utilization (0.9, 21.6 GiB).",
        "ValueError: To serve at least one request with the models's max seq len (131072), (16.00 GiB KV cache is needed, which is larger than the available KV cache memory (9.92 GiB).",
        "RuntimeError: Not enough memory to handle 4096 prefill tokens. You need to decrease `--max-batch-prefill-tokens`",
    ],
    "buffer-allocation-failed": [
        "llama_model_load: error loading model: unable to allocate CUDA0 buffer",
        "ggml_vulkan: Device memory allocation of size 1073741824 failed.",
        "ggml_cuda_host_malloc: failed to allocate 512.00 MiB of pinned memory: out of memory",
        "llama_model_load: error loading model: mmap failed: Cannot allocate memory",
        "llama_model_load: error loading model: unable to allocate backend buffer",
        "llama_context: failed to allocate compute pp buffers",
        "llama_kv_cache_init: failed to allocate buffer for kv cache",
    ],
    "ollama-runner-killed": ["error starting llama runner: signal: killed"],
    "java-heap-full": [
        "Terminating due to java.lang.OutOfMemoryError: Java heap space",
        "org.elasticsearch.common.breaker.CircuitBreakingException: [parent] Data too large, data for [<http_request>]",
    ],
    "java-memory-refused": [
        "Error: Could not reserve enough space for 4194304KB object heap",
        "java.lang.OutOfMemoryError: Direct buffer memory",
        "OpenJDK 64-Bit Server VM warning: INFO: os::commit_memory(0x00000006c0000000, 5368709120, 0) failed; error='Not enough space' (errno=12)",
    ],
    "database-memory-refused": [
        "DB::Exception: Memory limit (total) exceeded: would use 7.01 GiB",
        "DETAIL:  Failed on request of size 1048576.",
        "memory resource limit alarm set on node rabbit@a.",
    ],
    "process-out-of-memory": [
        "Cannot allocate memory (os error 12)",
        "app.rb:3:in `*': failed to allocate memory (NoMemoryError)",
        "Unhandled exception. System.OutOfMemoryException: Array dimensions exceeded supported range.",
        "RuntimeError: [enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: not enough memory: you tried to allocate 8589934592 bytes.",
    ],
    "stop-requested": [
        "2026-08-23T11:00:10.6Z container stop 709e7ec068ac9642229a994438d5a1f68ab5fe9ef81748e367d35b997bd65a11 (image=x)",
        "[2024-11-02 10:11:12 +0000] [1] [INFO] Handling signal: term",
        " Container app-web-1  Stopping",
        "Stopping app_web_1 ... done",
        "Received SIGTERM, shutting down",
    ],
    "gunicorn-worker-killed": ["[1] [WARNING] Worker with pid 57 was terminated due to signal 9"],
    "worker-killed": [
        'LOG:  background worker "parallel worker" (PID 290) was terminated by signal 9: Killed',
        "subprocess.CalledProcessError: Command '['ffmpeg']' died with <Signals.SIGKILL: 9>.",
        "RuntimeError: DataLoader worker (pid 123) is killed by signal: Killed.",
        "joblib.externals.loky.process_executor.TerminatedWorkerError: A worker process managed by the executor was unexpectedly terminated.",
        "torch.distributed.elastic: failed (exitcode: -9) local_rank: 0 (pid: 57)",
        "PM2 | App [api:0] exited with code [0] via signal [SIGKILL]",
    ],
    "container-oom-event": ["ollama probably killed for memory"],
    "restart-loop": [
        "ollama restarted 5 times by the engine",
        "api-0   0/1   CrashLoopBackOff   9 (2m ago)   20m",
    ],
    "runner-stopped": [
        "Error: model failed to load, this may be due to resource limitations or an internal error, check ollama server logs for details",
    ],
    "user-namespace-ids": [
        "Error: no subuid ranges found for user app in /etc/subuid",
        "newuidmap: write to uid_map failed: Operation not permitted",
        "cannot clone: Operation not permitted",
    ],
    "container-start-failed": ["Error: OCI runtime error: unable to start container"],
}
