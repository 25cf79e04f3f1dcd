// Agent is the first process of an emulated board. It mounts the kernel's file systems, loads
// the modules of its configuration, configures the network, and then carries out the requests
// of a test on the host, which arrive over a virtio-serial port (package wire). It runs
// nowhere else.
//
// The serial console is left to the kernel, so that the kernel's log can be checked: the agent
// writes there only errors of its start. If it dies, the kernel panics and the machine ends,
// which the host detects at once.
package main
