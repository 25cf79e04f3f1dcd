package main

// A row is a kind of work with which all servers are measured.
type row struct {
	name        string
	file        string
	connections int
	tls         bool
	close       bool // a connection for each request
	// perByte: CPU time is compared by byte instead of by request, since few requests end
	// within the measurement.
	perByte bool
}

var rows = []row{
	{name: "plain 1 KiB", file: "1k", connections: 32},
	{name: "plain 16 KiB", file: "16k", connections: 32},
	{name: "plain 64 KiB", file: "64k", connections: 16},
	{name: "plain 256 KiB", file: "256k", connections: 16},
	{name: "plain 1 MiB", file: "1m", connections: 8, perByte: true},
	{name: "plain 64 MiB", file: "64m", connections: 2, perByte: true},
	{name: "plain 1 GiB", file: "1g", connections: 2, perByte: true},
	{name: "plain 1 KiB, new connections", file: "1k", connections: 16, close: true},
	{name: "TLS 1 KiB", file: "1k", connections: 32, tls: true},
	{name: "TLS 64 KiB", file: "64k", connections: 16, tls: true},
	{name: "TLS 64 MiB", file: "64m", connections: 2, tls: true, perByte: true},
	{name: "TLS 1 KiB, new connections", file: "1k", connections: 8, tls: true, close: true},
}

func rowNames() []string {
	var names []string
	for _, r := range rows {
		names = append(names, r.name)
	}
	return names
}
