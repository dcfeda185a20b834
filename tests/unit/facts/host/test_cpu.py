"""The processor by /proc/cpuinfo: flags, level and model, also of odd machines; macOS's names."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from preflight.facts.host.machine import format_macos_cpuinfo, parse_cpuinfo, read_cpu_features
from preflight.model.facts import Unknown

V1 = "fpu lm cmov cx8 fxsr mmx syscall sse sse2"
V2 = f"{V1} cx16 lahf_lm popcnt pni sse4_1 sse4_2 ssse3"
V3 = f"{V2} avx avx2 bmi1 bmi2 f16c fma abm movbe xsave"
V4 = f"{V3} avx512f avx512bw avx512cd avx512dq avx512vl"
EPYC, GENERIC = "AMD EPYC 7763 64-Core Processor", "QEMU Virtual CPU version 2.5+"
RASPBERRY_PI = """\
processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU part\t: 0xd08

Revision\t: c03112
Model\t\t: Raspberry Pi 4 Model B Rev 1.2
"""
S390X = """\
vendor_id       : IBM/S390
# processors    : 2
bogomips per cpu: 3241.00
features\t: esan3 zarch stfle msa ldisp eimm dfp edat etf3eh highgprs te vx
processor 0: version = FF,  identification = 0133E8,  machine = 2964
"""


def cpus(*flags: str, model: str = EPYC) -> str:
    return "".join(
        f"processor\t: {number}\ncpu family\t: 25\nmodel\t\t: 1\nmodel name\t: {model}\n"
        f"cpu MHz\t\t: 2445.4\ncpu cores\t: 4\nflags\t\t: {text}\nbugs\t\t: sysret\n\n"
        for number, text in enumerate(flags)
    )


@pytest.mark.parametrize(
    ("flags", "level"), [(V1, 1), (V2, 2), (V3, 3), (V4, 4), (V4.replace(" movbe", ""), 2)]
)
def test_levels(flags: str, level: int) -> None:
    cpu = parse_cpuinfo(cpus(flags))
    assert (cpu.level, cpu.model) == (f"x86-64-v{level}", EPYC)
    assert cpu.flags == sorted(flags.split())


@pytest.mark.parametrize("name", ["abm", "pni", "lahf_lm", "xsave"])
def test_a_level_needs_all_of_its_flags(name: str) -> None:
    level = parse_cpuinfo(cpus(V3.replace(f" {name}", ""))).level
    assert level == ("x86-64-v2" if name in ("abm", "xsave") else "x86-64-v1")


def test_the_flags_are_those_that_all_cpus_have() -> None:
    cpu = parse_cpuinfo(cpus(V3, V2, V3))
    assert cpu.level == "x86-64-v2"
    assert cpu.flags == sorted(V2.split())


def test_512_cpus_take_no_time() -> None:
    text = cpus(*[V4] * 511, V3)
    start = time.thread_time()
    assert parse_cpuinfo(text).level == "x86-64-v3"
    assert time.thread_time() - start < 0.05


@pytest.mark.parametrize("model", [GENERIC, "Common KVM processor", "Common 32-bit KVM processor"])
@pytest.mark.parametrize("flags", [V1, V2])
def test_a_generic_model_hides_what_the_processor_has(model: str, flags: str) -> None:
    cpu = parse_cpuinfo(cpus(flags, model=model))
    assert cpu.model == model
    for value in (cpu.level, cpu.flags):
        assert isinstance(value, Unknown)
        assert model in value.reason


def test_a_generic_model_that_hides_nothing_is_known() -> None:
    assert parse_cpuinfo(cpus(V4, model=GENERIC)).level == "x86-64-v4"


@pytest.mark.parametrize(
    ("text", "flag", "model"),
    [
        (RASPBERRY_PI, "asimd", None),
        (S390X, "zarch", None),
        ("processor : 0\nmodel name : ARMv7 Processor rev 4 (v7l)\nFeatures : half neon\n", "neon",
         "ARMv7 Processor rev 4 (v7l)"),
        ("processor : 0\ncpu : POWER9 (raw), altivec supported\n", None,
         "POWER9 (raw), altivec supported"),
        ("processor : 0\nmodel name : Pentium II\nflags : fpu cmov mmx\n", "mmx", "Pentium II"),
        ("", None, None),
        ("\0\n:\nflags\n", None, None),
        ("model name :\nflags :\nbugs : x\n", None, None),
    ],
    ids=["aarch64", "s390x", "armv7", "power", "x86", "empty", "garbage", "no values"],
)  # fmt: skip
def test_other_processors_have_no_level(text: str, flag: str | None, model: str | None) -> None:
    cpu = parse_cpuinfo(text)
    assert isinstance(cpu.level, Unknown)
    assert isinstance(cpu.flags, Unknown) if flag is None else flag in cpu.flags
    assert isinstance(cpu.model, Unknown) if model is None else cpu.model == model


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="a file of Linux")
def test_this_machine_by_hand() -> None:
    rows: dict[str, set[str]] = {}
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        rows.setdefault(key.strip(), set()).add(value.strip())
    cpu = read_cpu_features()
    if len(rows.get("flags", ())) == 1:
        (flags,) = rows["flags"]
        assert cpu.flags == sorted(set(flags.split()))
    assert cpu.model in rows.get("model name", {cpu.model})


def test_a_machine_without_the_file_is_unknown(tmp_path: Path) -> None:
    assert all(isinstance(value, Unknown) for value in read_cpu_features(tmp_path))


INTEL_MAC = {
    "brand_string": "Intel(R) Core(TM) i7-8559U CPU @ 2.70GHz",
    "features": "FPU CX8 SEP CMOV MMX FXSR SSE SSE2 SSE3 SSSE3 FMA CX16 SSE4.1 SSE4.2 x2APIC MOVBE"
    " POPCNT AES PCID XSAVE OSXSAVE AVX1.0 RDRAND F16C",
    "leaf7_features": "RDWRFSGS TSC_THREAD_OFFSET SGX BMI1 AVX2 SMEP BMI2 ERMS INVPCID FPU_CSDS",
    "extfeatures": "SYSCALL XD 1GBPAGE EM64T LAHF LZCNT PREFETCHW RDTSCP TSCI",
}


def test_macos(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = parse_cpuinfo(format_macos_cpuinfo(lambda name: INTEL_MAC[name]))
    assert (cpu.level, cpu.model) == ("x86-64-v3", INTEL_MAC["brand_string"])
    apple = parse_cpuinfo(format_macos_cpuinfo(lambda n: {"brand_string": "Apple M2"}.get(n, "")))
    assert isinstance(apple.level, Unknown)
    assert apple.model == "Apple M2"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert all(
        isinstance(value, Unknown) for value in read_cpu_features()
    )  # its C library is another one
