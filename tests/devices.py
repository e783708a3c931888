"""How tests ask for fake CPU devices; free of JAX, which reads it when it is imported."""


def xla_flags(devices: int) -> str:
    """The value of XLA_FLAGS for so many devices.

    XLA ends a process whose devices wait for each other for 40 s, which busy cores can take.
    """
    return (
        f"--xla_force_host_platform_device_count={devices}"
        " --xla_cpu_collective_call_terminate_timeout_seconds=300"
    )
