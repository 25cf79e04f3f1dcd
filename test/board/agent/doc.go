// Agent is the first process of an emulated board. It mounts the kernel's file
// systems, loads the modules it is told to, configures the network, and then
// does what a test on the host asks for over a virtio-serial port (package
// wire). It is not meant to run anywhere else.
//
// The serial console is left to the kernel, so that its log can be judged: the
// agent writes there only what stops it from coming up. If it dies, the kernel
// panics and the machine ends, which the host sees at once.
package main
