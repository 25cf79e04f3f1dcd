// Package systemd implements the daemon's interface to systemd: start-up and reload
// notification, socket activation, credentials, and detection of the journal. Without systemd
// every function does nothing. The directory also holds the units and the files that are
// installed with them.
//
// The package does not use D-Bus and does not start processes.
//
// A socket unit passes sockets that stay open across a restart of the
// service; its FileDescriptorName= is the NAME of "systemd:NAME" in the
// configuration:
//
//	[Socket]
//	ListenStream=443
//	FileDescriptorName=https
//
// To debug: run the program under systemd-socket-activate(1), or with
// NOTIFY_SOCKET naming the socket of socat -u UNIX-RECV:/tmp/notify -.
package systemd
