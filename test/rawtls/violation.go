package rawtls

import (
	"bytes"
	"go/build"
	"slices"
)

// A Violation is a record, or several, that a client must not send, and the alert with which the server
// must answer: RFC 8446 section 6.2.
type Violation struct {
	Name  string
	Alert int
	Make  func(c *Client) []byte // bytes for c.Conn

	go126 bool // crypto/tls detects it from Go 1.26 on
}

// Alert descriptions, RFC 8446 section 6.
const (
	CloseNotify       = 0
	UnexpectedMessage = 10
	BadRecordMAC      = 20
	RecordOverflow    = 22
	InternalError     = 80
	ProtocolVersion   = 70
	UserCanceled      = 90
)

// Go126 reports whether this program was built with Go 1.26 or newer, whose crypto/tls ignores
// user_canceled and limits key updates.
var Go126 = slices.Contains(build.Default.ReleaseTags, "go1.26")

// Violations returns one Violation of each kind that is possible after the handshake and that
// crypto/tls detects.
func Violations() []Violation {
	return slices.DeleteFunc(slices.Clone(violations), func(v Violation) bool { return v.go126 && !Go126 })
}

var violations = []Violation{
	{Name: "forged record", Alert: BadRecordMAC, Make: func(c *Client) []byte {
		record := c.Seal(ApplicationData, []byte("GET / HTTP/1.1\r\n\r\n"), 0)
		record[len(record)-1] ^= 1
		return record
	}},
	{Name: "record sent twice", Alert: BadRecordMAC, Make: func(c *Client) []byte {
		record := c.Seal(ApplicationData, []byte("GET"), 0)
		return slices.Concat(record, record)
	}},
	{Name: "record shorter than its tag", Alert: BadRecordMAC, Make: func(c *Client) []byte {
		return []byte{ApplicationData, 3, 3, 0, 3, 1, 2, 3}
	}},
	{Name: "empty record without a tag", Alert: BadRecordMAC, Make: func(c *Client) []byte {
		return []byte{ApplicationData, 3, 3, 0, 0}
	}},
	{Name: "alert in the clear", Alert: BadRecordMAC, Make: func(c *Client) []byte {
		return []byte{Alert, 3, 3, 0, 2, 2, 40}
	}},
	{Name: "HTTP in the clear", Alert: ProtocolVersion, Make: func(c *Client) []byte {
		return []byte("GET / HTTP/1.1\r\nHost: board\r\n\r\n")
	}},
	{Name: "version of SSL 3.0", Alert: ProtocolVersion, Make: func(c *Client) []byte {
		record := c.Seal(ApplicationData, []byte("GET"), 0)
		record[2] = 0
		return record
	}},
	{Name: "header of a record too long", Alert: RecordOverflow, Make: func(c *Client) []byte {
		return []byte{ApplicationData, 3, 3, 0xff, 0xff}
	}},
	{Name: "record one byte too long", Alert: RecordOverflow, Make: func(c *Client) []byte {
		return c.SealInner(make([]byte, MaxRecord+1-tagSize))
	}},
	{Name: "content one byte too long", Alert: RecordOverflow, Make: func(c *Client) []byte {
		return c.Seal(ApplicationData, make([]byte, MaxContent+1), 0)
	}},
	{Name: "unknown content type", Alert: UnexpectedMessage, Make: func(c *Client) []byte {
		return c.Seal(99, []byte("data"), 0)
	}},
	{Name: "padding alone", Alert: UnexpectedMessage, Make: func(c *Client) []byte {
		return c.SealInner(make([]byte, 100))
	}},
	{Name: "empty handshake record", Alert: UnexpectedMessage, Make: func(c *Client) []byte {
		return c.Seal(Handshake, nil, 0)
	}},
	{Name: "ticket from the client", Alert: UnexpectedMessage, Make: func(c *Client) []byte {
		return c.Seal(Handshake, []byte{4, 0, 0, 14, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 1, 7, 0, 0}, 0)
	}},
	{Name: "Finished once more", Alert: UnexpectedMessage, Make: func(c *Client) []byte {
		return c.Seal(Handshake, append([]byte{20, 0, 0, 32}, make([]byte, 32)...), 0)
	}},
	{Name: "data within a handshake message", Alert: UnexpectedMessage, Make: func(c *Client) []byte {
		return slices.Concat(c.Seal(Handshake, []byte{24, 0}, 0), c.Seal(ApplicationData, []byte("GET"), 0))
	}},
	{Name: "handshake message of 1 MiB", Alert: InternalError, Make: func(c *Client) []byte {
		return c.Seal(Handshake, append([]byte{24, 0x10, 0, 0}, make([]byte, 1000)...), 0)
	}},
	{Name: "alert of one byte", Alert: UnexpectedMessage, Make: func(c *Client) []byte {
		return c.Seal(Alert, []byte{2}, 0)
	}},
	{Name: "empty records without end", Alert: UnexpectedMessage, Make: func(c *Client) []byte {
		return repeat(100, func() []byte { return c.Seal(ApplicationData, nil, 0) })
	}},
	{Name: "change_cipher_spec without end", Alert: UnexpectedMessage, Make: func(c *Client) []byte {
		return bytes.Repeat([]byte{ChangeCipherSpec, 3, 3, 0, 1, 1}, 100)
	}},
	{Name: "user_canceled without end", Alert: UnexpectedMessage, Make: func(c *Client) []byte {
		return repeat(100, func() []byte { return c.Seal(Alert, []byte{1, UserCanceled}, 0) })
	}, go126: true},
	{Name: "KeyUpdate without end", Alert: UnexpectedMessage, Make: func(c *Client) []byte {
		return repeat(100, func() []byte { return c.KeyUpdate(false) })
	}, go126: true},
}

func repeat(n int, make func() []byte) (all []byte) {
	for range n {
		all = append(all, make()...)
	}
	return all
}
