//go:build linux

package ktls

import (
	"testing"
)

// TestIsTicket: a complete session ticket is recognized, and the first record of a longer one.
func TestIsTicket(t *testing.T) {
	ticket := func(length, have int) Message {
		return Message{recordHandshake, append([]byte{handshakeNewSessionTicket, byte(length >> 16), byte(length >> 8), byte(length)}, make([]byte, have)...)}
	}
	for _, tc := range []struct {
		name string
		m    Message
		want bool
	}{
		{"whole", ticket(200, 200), true},
		{"the first of two records", ticket(20000, 16<<10-4), true},
		{"cut short", ticket(200, 199), false},
		{"too long", ticket(200, 201), false},
		{"longer than tickets are", ticket(1<<20, 16<<10-4), false},
		{"other message", Message{recordHandshake, []byte{handshakeKeyUpdate, 0, 0, 1, 0}}, false},
		{"other type", Message{recordAlert, ticket(200, 200).Payload}, false},
		{"empty", Message{Type: recordHandshake}, false},
	} {
		if got := tc.m.isTicket(); got != tc.want {
			t.Errorf("%s: got %v, want %v", tc.name, got, tc.want)
		}
	}
}
