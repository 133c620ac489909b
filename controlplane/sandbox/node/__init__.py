"""The process node: a small kubelet whose containers are local processes (records.py has what others may use)."""
