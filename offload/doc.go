// Package offload decides whether kernel TLS is used, with which cipher suites and crypto drivers.
//
// A driver is used only after a test: a Tester runs the command selftest in a child process, since a
// dead engine blocks its callers forever, probes the machine, and measures where no rule decides.
// Choose derives the decision from the configuration and the report. Tester.Prefer implements
// crypto.prefer: it raises the priority of a driver, and reverts that if the driver is worse.
// Tester.TestDrivers tests drivers that are registered while the service runs.
//
// The package does not encrypt, and has no connections. State files are in /var/lib/uringhttpd and
// /run/uringhttpd.
//
// To debug a decision, compare `uringhttpd doctor -json` with the log of the service; `uringhttpd
// selftest -json` prints the results that the Tester reads.
package offload
