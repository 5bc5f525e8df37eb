"""What the API says of itself: the OpenAPI document and the page made of the same table."""
