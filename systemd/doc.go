// Package systemd is the little that the daemon says to systemd and hears from
// it: start-up and reload notification, sockets and credentials handed over,
// and whether the log goes to the journal. Without systemd every part of it
// does nothing. The folder also holds the units and what installs beside them.
//
// It does not speak D-Bus and starts nothing.
//
// A socket unit hands over sockets that stay open across a restart of the
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
