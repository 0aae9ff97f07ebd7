package httpapi.authz

default allow = false

# The admin reads and creates users.
allow {
	input.method = "GET"
	input.path = ["api", "v1", "users"]
	input.user.role = "admin"
}

allow {
	input.method = "POST"
	input.path = ["api", "v1", "users"]
	input.user.role = "admin"
}

# Whoever is logged in may log out.
allow {
	input.method = "POST"
	input.path = ["api", "v1", "logout"]
	input.user.sub
}
