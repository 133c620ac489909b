"""`python -m operators` is `kfleet-operator`."""

from operators.main import main

main()
