// Package wire is the protocol between a test on the host and the agent inside an emulated
// board: one JSON object per line over a virtio-serial port, requests in one direction, responses
// in the other, matched by their number. Responses may arrive in any order.
//
// It holds types and a reader of lines. Every request has its own time limit, which the agent
// enforces; the host waits a little longer before it gives up.
package wire
