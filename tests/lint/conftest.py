"""The corpus holds programs that are read and never run."""

collect_ignore = ["corpus"]
