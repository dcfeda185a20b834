"""Lines as programs write them, by the known error that they tell of, and lines near to these."""

# ruff: noqa: E501, ISC004 - a line of a log stands on one line

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from known_error_reports import REPORTED
from known_error_variants import VARIANTS
from preflight.model.rules import DiagnosisRule

ID = "3f4e" + "0123456789ab" * 5

HITS: dict[str, list[str]] = {
    "model-needs-more-memory": [
        "Error: model requires more system memory (5.7 GiB) than is available (2.8 GiB)",
        'time=2024-08-14T09:21:44.501Z level=WARN source=server.go:133 msg="model request too large '
        'for system" requested="5.7 GiB" available=3006477107 total="7.6 GiB" free="2.8 GiB"'
        ' swap="0 B"',
        'time=2025-10-02T10:11:12.123+02:00 level=INFO source=sched.go:443 msg="NewLlamaServer '
        'failed" model=/root/.ollama/models/blobs/sha256-6a0 error="model requires more system '
        'memory (5.7 GiB) than is available (2.8 GiB)"',
        "ollama._types.ResponseError: model requires more system memory than is currently available"
        " (status code: 500)",
        'api-1  | {"error":"model requires more system memory (11.1 GiB) than is available'
        ' (900.5 MiB)"}',
    ],
    "gpu-out-of-memory": [
        "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 4096.00 MiB on device 0: cudaMalloc"
        " failed: out of memory",
        "CUDA error: out of memory",
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total"
        " capacity of 7.79 GiB",
    ],
    "killed-at-container-limit": [
        "[12345.678901] oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=" + ID + ","
        f"mems_allowed=0,oom_memcg=/docker/{ID},task_memcg=/docker/{ID},task=ollama,pid=4242,uid=0",
        "Nov  2 10:11:12 vm kernel: Memory cgroup out of memory: Killed process 4242 (ollama) "
        "total-vm:12345678kB, anon-rss:8388608kB, file-rss:0kB, shmem-rss:0kB, UID:0",
        "[  987.654321] Memory cgroup out of memory: Kill process 31 (python) score 1987 or "
        "sacrifice child",
        f"[  987.654320] Task in /docker/{ID} killed as a result of limit of /docker/{ID}",
        "Container killed due to memory limit",
        "kernel: oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=x,mems_allowed=0,"
        f"oom_memcg=/system.slice/docker-{ID}.scope,task_memcg=/system.slice/docker-{ID}.scope,"
        "task=llama-server,pid=88,uid=0",
    ],
    "host-out-of-memory": [
        "[12345.678901] Out of memory: Killed process 900 (ollama) total-vm:9000000kB, "
        "anon-rss:7654321kB, file-rss:0kB",
        "Nov  2 10:11:12 vm kernel: Out of memory: Kill process 900 (java) score 905 or sacrifice"
        " child",
        "[1.000001] oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=x,mems_allowed=0,"
        f"global_oom,task_memcg=/docker/{ID},task=ollama,pid=900,uid=0",
    ],
    "model-out-of-memory-at-start": [
        'time=2026-05-01T10:00:00Z level=ERROR msg="llama-server reported out-of-memory during'
        ' startup"',
    ],
    "container-oom-killed": [
        '            "OOMKilled": true,',
        "      Reason:       OOMKilled",
        '{"state":{"\\"OOMKilled\\": true"}}'.replace("{", "").replace("}", ""),
        f"systemd[1]: docker-{ID}.scope: A process of this unit has been killed by the OOM killer.",
    ],
    "disk-full": [
        "write /root/.ollama/models/blobs/sha256-abc-partial: no space left on device",
        "OSError: [Errno 28] No space left on device",
        'Error response from daemon: mkdir /var/lib/docker/overlay2/1: no space left on device"',
    ],
    "cpu-limit-refused": [
        "Error response from daemon: Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs"
        " available",
    ],
    "ollama-busy": [
        'level=ERROR msg="server busy, please try again.  maximum pending requests exceeded"',
    ],
    "ollama-runner-killed": [
        'level=ERROR source=sched.go:455 msg="error loading llama server" error="llama runner '
        'process has terminated: signal: killed"',
        'error="llama runner process no longer running: -1 signal: killed"',
        'level=ERROR msg="llama-server process has terminated: signal: killed"',
        "Error: llama runner exited, you may not have enough available memory to run this model",
        "Error: llama runner exited, you may not have enough memory to run the model",
    ],
    "buffer-allocation-failed": [
        "alloc_tensor_range: failed to allocate CPU buffer of size 4294967328",
        "llama_model_load: error loading model: unable to allocate CPU buffer",
        "graph_reserve: failed to allocate compute buffers",
        "llama_kv_cache_init: failed to allocate buffer for kv cache",
        "ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 2147483648",
    ],
    "process-out-of-memory": [
        "fatal error: runtime: out of memory",
        "OSError: [Errno 12] Cannot allocate memory",
        "terminate called after throwing an instance of 'std::bad_alloc'",
        "MemoryError",
        "api-1  | MemoryError: ",
        "2024-06-01T10:00:00.000000001Z MemoryError",
        "numpy.core._exceptions._ArrayMemoryError: Unable to allocate 2.00 GiB for an array",
    ],
    "gunicorn-worker-killed": [
        "[2024-11-02 10:11:12 +0000] [1] [ERROR] Worker (pid:57) was sent SIGKILL! Perhaps out of"
        " memory?",
    ],
    "container-oom-event": [
        f"2026-11-23T11:00:00.123456789Z container oom {ID} (image=ollama/ollama, name=ollama)",
    ],
    "load-timed-out": [
        'error="timed out waiting for llama runner to start - progress 0.42 - "',
        'error="timed out waiting for llama-server to start: context canceled"',
        'error="timed out waiting for llama runner to start: "',
    ],
    "gunicorn-worker-timeout": [
        "[2024-11-02 10:11:12 +0000] [1] [CRITICAL] WORKER TIMEOUT (pid:57)",
    ],
    "restart-loop": [
        "ollama-1 exited with code 1 (restarting)",
        'd1b2  ollama/ollama  "/bin/ollama serve"  5 minutes ago  Restarting (137) 5 seconds ago',
        'd1b2  ollama/ollama  "/bin/ollama serve"  5 minutes ago  Restarting (1) About a minute'
        " ago",
    ],
    "runner-stopped": [
        "Error: model runner has unexpectedly stopped, this may be due to resource limitations or"
        " an internal error, check ollama server logs for details",
    ],
    "uvicorn-worker-died": ["INFO:     Child process [12] died"],
    "server-disconnected": [
        "httpx.RemoteProtocolError: Server disconnected without sending a response.",
    ],
    "exit-code-137": [
        "ollama-1 exited with code 137",
        "d1b2  ollama/ollama  Exited (137) 5 minutes ago",
        f"2026-11-23T11:00:00Z container die {ID} (exitCode=137, image=ollama/ollama)",
    ],
}
"""One line is enough for these."""

OFTEN: dict[str, list[str]] = {
    "slow-answers": [
        '[GIN] 2024/11/02 - 10:11:12 | 200 |         1m32s |      172.18.0.3 | POST     "/api/chat"',
        "[GIN] 2024/11/02 - 10:21:12 | 200 |        12m5s |      172.18.0.3 | POST "
        '    "/api/generate"',
        "[GIN] 2024/11/02 - 10:51:12 | 500 |       1h2m3s |      172.18.0.3 | POST "
        '    "/v1/chat/completions"',
    ],
    "restarts": [
        'time=2024-11-02T10:00:01.000Z level=INFO source=routes.go:1187 msg="Listening on [::]:11434'
        ' (version 0.5.7)"',
        'time=2024-11-02T10:03:01.000Z level=INFO source=routes.go:1187 msg="Listening on [::]:11434'
        ' (version 0.5.7)"',
        'time=2024-11-02T10:08:01.000Z level=INFO source=routes.go:1187 msg="Listening on [::]:11434'
        ' (version 0.5.7)"',
    ],
}
"""It takes three lines within a while."""

CLEAN: dict[str, list[str]] = {
    "model-needs-more-memory": [
        'msg="new model will fit in available VRAM" required="5.7 GiB" available="20.8 GiB"',
        'POST /api/chat {"prompt": "model requires more system memory (5.7 GiB) than is available '
        '(2.8 GiB), what now?"}',
        "GET /search?q=model+requires+more+system+memory HTTP/1.1",
        "this model requires more memory than the last one",
        '{"role":"user","content":"I get \\"model request too large for system\\" from ollama"}',
    ],
    "gpu-out-of-memory": [
        "cudaMalloc succeeded: 4096 MiB",
        "set OLLAMA_DEBUG=1 to see when it is out of memory",
        "CUDA error handling is on: out of band",
    ],
    "killed-at-container-limit": [
        "memory cgroup out of band",
        "docker run --oom-kill-disable -m 64m",
        "oom_kill 0",
        "oom_kill_disable 0",
        "Memory cgroup stats for /docker/x: anon 0",
        "Container killed by request",
    ],
    "host-out-of-memory": [
        "Node 0 Normal free:44000kB",
        "OLLAMA_DEBUG out of memory",
        "docs: Out of memory killer (OOM) explained",
        "we are out of memory cards",
    ],
    "model-out-of-memory-at-start": ["llama-server started, memory: 4.1 GiB"],
    "container-oom-killed": [
        '            "OOMKilled": false,',
        '"OomKillDisable": false,',
        "OOMKilled=false",
        "the field OOMKilled is true where the kernel killed it",
    ],
    "disk-full": [
        "there is no space left on device maps",
        "the manual explains 'no space left on device'",
        "prompt: why do I see OSError: [Errno 28] No space left on device",
        "GET /docs/no-space-left-on-device HTTP/1.1",
    ],
    "cpu-limit-refused": ["CPUs are from 0.01 to 2.00"],
    "ollama-busy": ["pending requests: 12, maximum 512"],
    "ollama-runner-killed": [
        'error="llama runner process has terminated: exit status 2"',
        'error="llama runner process has terminated: signal: broken pipe"',
        "signal: killed",
        'msg="llama runner started in 5.27 seconds"',
        'msg="llama-server process has terminated: exit status 0"',
    ],
    "buffer-allocation-failed": [
        "allocated CPU buffer of size 4294967328",
        "failed to allocate IP address",
        "llama_kv_cache_init: CPU KV buffer size = 256.00 MiB",
    ],
    "process-out-of-memory": [
        "class MyMemoryError(Exception):",
        "except MemoryError as fault:",
        "bad_alloc handler set",
        "handled: not a MemoryError",
    ],
    "gunicorn-worker-killed": [
        "[2024-11-02 10:11:12 +0000] [1] [ERROR] Worker (pid:57) was sent SIGTERM!",
        "[2024-11-02 10:11:12 +0000] [57] [INFO] Worker exiting (pid: 57)",
    ],
    "container-oom-event": ["container oom score adjusted", "container room 12"],
    "load-timed-out": [
        'msg="waiting for llama runner to start responding"',
        'msg="waiting for server to become available" status="llm server loading model"',
    ],
    "gunicorn-worker-timeout": ["worker timeout is 30 s", "--worker-timeout 30"],
    "restart-loop": [
        "Restarting (2) workers",
        "ollama-1 exited with code 0",
        "Restarting nginx",
        "Container ollama-1  Restarting",
    ],
    "runner-stopped": ['msg="runner stopped" model=phi:latest reason=idle'],
    "uvicorn-worker-died": [
        "Child process [12] started",
        "INFO:     Waiting for child process [12]",
        "the parrot in the child process died",
    ],
    "server-disconnected": ["Client disconnected without sending a request"],
    "exit-code-137": [
        "ollama-1 exited with code 0",
        "Exited (143) 5 minutes ago",
        "exited with code 1370",
        "pid 137 exited",
        "exitCode=13",
    ],
    "slow-answers": [
        '[GIN] 2024/11/02 - 10:11:12 | 200 |  59.990123456s |      172.18.0.3 | POST     "/api/chat"',
        '[GIN] 2024/11/02 - 10:12:12 | 200 |        12m5s |      172.18.0.3 | POST     "/api/pull"',
        '[GIN] 2024/11/02 - 10:13:12 | 200 |  850.123456ms |      172.18.0.3 | POST     "/api/chat"',
        '[GIN] 2024/11/02 - 10:14:12 | 200 |      31.219µs |      172.18.0.3 | GET      "/api/tags"',
    ],
    "restarts": [
        'msg="Listening on 127.0.0.1:39871"',
        "INFO:     Started server process [57]",
        "INFO:     Started reloader process [1] using WatchFiles",
    ],
}
"""Near to a known error, and none."""


FURTHER_HITS: dict[str, list[str]] = defaultdict(list)
"""Further lines that tell of an error."""


def _read_lines(name: str) -> None:
    """Read lines of a file: after `[id]`, "+ " tells of the error, "- " is near to it."""
    id_ = ""
    for line in Path(__file__).with_name(name).read_text("utf-8").splitlines():
        if line.startswith("["):
            id_ = line.strip("[]")
        elif line.startswith("+ "):
            FURTHER_HITS[id_].append(line[2:])
        elif line.startswith("- "):
            CLEAN.setdefault(id_, []).append(line[2:])


_read_lines("error_lines.txt")
_read_lines("engine_error_lines.txt")
_read_lines("engine_near_misses.txt")


def lines_by_error(diagnoses: Iterable[DiagnosisRule]) -> list[tuple[str, str]]:
    """Return the lines that each tell of an error, with its id."""
    return [
        (diagnosis.id, line)
        for diagnosis in diagnoses
        if diagnosis.times == 1
        for line in (
            *diagnosis.examples,
            *HITS.get(diagnosis.id, ()),
            *VARIANTS.get(diagnosis.id, ()),
            *REPORTED.get(diagnosis.id, ()),
            *FURTHER_HITS.get(diagnosis.id, ()),
        )
    ]
