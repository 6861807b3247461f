"""From a plan to manifests: one Jinja2 template an object, no policy and no arithmetic in any of them."""
