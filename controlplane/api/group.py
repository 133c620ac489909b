"""The API group and version, in the one place that names them."""

GROUP = "kfleet.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
