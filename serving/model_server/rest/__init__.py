"""TF Serving's REST API: routes, JSON in, JSON out, the demo page."""
