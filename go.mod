module uringhttpd

go 1.24.0

require (
	github.com/coreos/go-systemd/v22 v22.6.0
	github.com/pawelgaczynski/giouring v0.0.0-20230826085535-69588b89acb9
	golang.org/x/crypto v0.48.0
	golang.org/x/sys v0.41.0
	gopkg.in/yaml.v3 v3.0.1
)
