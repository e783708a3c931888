"""The machine that measures: its name as a key of results, and the commit."""

import os
import platform
import shutil
import subprocess
from pathlib import Path

import psutil

from benchmarks.peer_workers.conversation import ROOT


def gpu() -> str:
    """The name of the first NVIDIA GPU, "" where there is none."""
    if shutil.which("nvidia-smi") is None:
        return ""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.split("\n")[0].strip() if found.returncode == 0 else ""


def machine_of(device: str) -> str:
    """Processor, cores, memory and the device that computes, such as "cpu" or a GPU's name."""
    memory = round(psutil.virtual_memory().total / 2**30)
    return f"{_processor()}, {os.cpu_count()} cores, {memory} GB, computing on {device}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def commit() -> str:
    """The checkout's commit, with "and changes" where files differ from it."""

    def git(*arguments: str) -> str:
        command = ["git", *arguments]
        return subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=False
        ).stdout.strip()

    changed = git("status", "--porcelain", "--", "*.py")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + (" and changes" if changed else "")
