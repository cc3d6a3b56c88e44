"""Nothing leaves this machine: the switches of packages that would report how they are used."""

SWITCHES = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "ORT_DISABLE_TELEMETRY": "1",
}
"""Environment of every process of ours, set before the first import of mlflow and onnxruntime, which read it then.

Source: onnxruntime 1.31.1, core/platform/telemetry_1ds.cc; without, it writes a device id and a queue of events below
the home directory, and looks up its maker's host.
"""


def startup_line() -> str:
    """The line of a `.pth` file with which Python starts in our environment: for MLflow's own commands, too."""
    return f"import os; os.environ.update({SWITCHES})\n"
