// Package wire is the language between a test on the host and the agent inside
// an emulated board: one JSON object a line over a virtio-serial port, requests
// one way, responses the other, matched by their number. Responses may come in
// any order.
//
// It holds types and the reading of lines. Every request carries its own time limit, which the
// agent enforces; the host waits a little longer before it gives up.
package wire
