package rawtls

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
)

// Content types, RFC 8446 section 5.1.
const (
	ChangeCipherSpec = 20
	Alert            = 21
	Handshake        = 22
	ApplicationData  = 23
)

const (
	header  = 5
	tagSize = 16
	// MaxContent is the largest number of content bytes in a record, RFC 8446 section 5.1.
	MaxContent = 1 << 14
	// MaxRecord is the largest number of bytes after the header of a record, section 5.2.
	MaxRecord = MaxContent + 256
)

// A Client is a connection after its handshake, for one goroutine.
type Client struct {
	Conn  net.Conn // TCP
	Suite uint16   // negotiated cipher suite, as in crypto/tls
	out   *keys    // for the next record of the client
	in    *keys    // for the next record of the server
}

// New does a handshake on conn, which the caller still closes. cfg is not changed; the server must
// select TLS 1.3 with AES-GCM.
func New(conn net.Conn, cfg *tls.Config) (*Client, error) {
	secrets := keyLog{}
	cfg = cfg.Clone()
	cfg.KeyLogWriter = secrets
	t := tls.Client(&oneRecord{Conn: conn}, cfg)
	if err := t.Handshake(); err != nil {
		return nil, err
	}
	suite := t.ConnectionState().CipherSuite
	c := &Client{Conn: conn, Suite: suite}
	var err error
	if c.out, err = newKeys(suite, secrets["CLIENT_TRAFFIC_SECRET_0"]); err != nil {
		return nil, err
	}
	c.in, err = newKeys(suite, secrets["SERVER_TRAFFIC_SECRET_0"])
	return c, err
}

// Seal returns the client's next record, encrypted, with padding zeros after the content. The caller
// sends it.
func (c *Client) Seal(contentType byte, content []byte, padding int) []byte {
	inner := append(bytes.Clone(content), contentType)
	return c.SealInner(append(inner, make([]byte, padding)...))
}

// SealInner returns the client's next record with the given inner plaintext: content, content type and
// padding, RFC 8446 section 5.2.
func (c *Client) SealInner(inner []byte) []byte {
	record := binary.BigEndian.AppendUint16([]byte{ApplicationData, 3, 3}, uint16(len(inner)+tagSize))
	return c.out.aead.Seal(record, c.out.nonce(), inner, record)
}

// KeyUpdate returns a KeyUpdate, RFC 8446 section 4.6.3, with update_requested if requested is true.
// Later records are encrypted with the next keys.
func (c *Client) KeyUpdate(requested bool) []byte {
	message := []byte{24, 0, 0, 1, 0}
	if requested {
		message[4] = 1
	}
	record := c.Seal(Handshake, message, 0)
	c.out = c.out.next()
	return record
}

// Read returns the content of the server's next record. After a KeyUpdate it uses the next keys. The
// error is io.EOF at the end of the connection.
func (c *Client) Read() (contentType byte, content []byte, err error) {
	head := make([]byte, header)
	if _, err := io.ReadFull(c.Conn, head); err != nil {
		return 0, nil, err
	}
	sealed := make([]byte, binary.BigEndian.Uint16(head[3:]))
	if _, err := io.ReadFull(c.Conn, sealed); err != nil {
		return 0, nil, err
	}
	inner, err := c.in.aead.Open(nil, c.in.nonce(), sealed, head)
	if err != nil {
		return 0, nil, fmt.Errorf("rawtls: record of the server: %w", err)
	}
	inner = bytes.TrimRight(inner, "\x00")
	if len(inner) == 0 {
		return 0, nil, errors.New("rawtls: the server sent padding alone")
	}
	contentType, content = inner[len(inner)-1], inner[:len(inner)-1]
	if contentType == Handshake && len(content) > 0 && content[0] == 24 {
		c.in = c.in.next()
	}
	return contentType, content, nil
}

// ReadAll reads until the server's FIN and returns its application data and the description of its
// alert, or -1 if it sent none. A record after the alert is an error.
func (c *Client) ReadAll() (data []byte, alert int, err error) {
	alert = -1
	for {
		contentType, content, err := c.Read()
		switch {
		case err == io.EOF:
			return data, alert, nil
		case err != nil:
			return data, alert, err
		case alert >= 0:
			return data, alert, fmt.Errorf("rawtls: content type %d after alert %d", contentType, alert)
		case contentType == ApplicationData:
			data = append(data, content...)
		case contentType == Alert && len(content) == 2:
			alert = int(content[1])
		case contentType != Handshake:
			return data, alert, fmt.Errorf("rawtls: content type %d, %d bytes", contentType, len(content))
		}
	}
}

// keys are the keys of one direction.
type keys struct {
	hash   func() hash.Hash
	length int // of the key
	secret []byte
	aead   cipher.AEAD
	iv     []byte
	seq    uint64
}

func newKeys(suite uint16, secret []byte) (*keys, error) {
	switch {
	case suite == tls.TLS_AES_128_GCM_SHA256 && len(secret) == 32:
		return deriveKeys(sha256.New, 16, secret), nil
	case suite == tls.TLS_AES_256_GCM_SHA384 && len(secret) == 48:
		return deriveKeys(sha512.New384, 32, secret), nil
	}
	return nil, fmt.Errorf("rawtls: no keys for %s", tls.CipherSuiteName(suite))
}

// deriveKeys derives key and IV from a traffic secret, RFC 8446 section 7.3.
func deriveKeys(h func() hash.Hash, length int, secret []byte) *keys {
	k := &keys{hash: h, length: length, secret: secret}
	block, err := aes.NewCipher(k.expand("key", length))
	if err != nil {
		panic(err) // the length is right
	}
	if k.aead, err = cipher.NewGCM(block); err != nil {
		panic(err)
	}
	k.iv = k.expand("iv", 12)
	return k
}

// next returns the keys after a KeyUpdate, RFC 8446 section 7.2.
func (k *keys) next() *keys {
	return deriveKeys(k.hash, k.length, k.expand("traffic upd", k.hash().Size()))
}

// expand is HKDF-Expand-Label of RFC 8446 section 7.1 with an empty context.
func (k *keys) expand(label string, length int) []byte {
	info := binary.BigEndian.AppendUint16(nil, uint16(length))
	info = append(info, byte(len("tls13 ")+len(label)))
	info = append(info, "tls13 "+label+"\x00"...)
	out, err := hkdf.Expand(k.hash, k.secret, string(info), length)
	if err != nil {
		panic(err) // no length here is too large
	}
	return out
}

// nonce returns the nonce of the next record, and counts the record: RFC 8446 section 5.3.
func (k *keys) nonce() []byte {
	nonce := bytes.Clone(k.iv)
	for i, b := range binary.BigEndian.AppendUint64(nil, k.seq) {
		nonce[4+i] ^= b
	}
	k.seq++
	return nonce
}

// A keyLog is a tls.Config.KeyLogWriter that stores the secrets of one connection, by label.
type keyLog map[string][]byte

func (l keyLog) Write(line []byte) (int, error) {
	if f := bytes.Fields(line); len(f) == 3 {
		secret, err := hex.DecodeString(string(f[2]))
		if err != nil {
			return 0, err
		}
		l[string(f[0])] = secret
	}
	return len(line), nil
}

// oneRecord returns one record at a time to crypto/tls, so that crypto/tls does not read records after
// the handshake.
type oneRecord struct {
	net.Conn
	buf []byte
}

func (c *oneRecord) Read(p []byte) (int, error) {
	if len(c.buf) == 0 {
		head := make([]byte, header)
		if _, err := io.ReadFull(c.Conn, head); err != nil {
			return 0, err
		}
		c.buf = append(head, make([]byte, binary.BigEndian.Uint16(head[3:]))...)
		if _, err := io.ReadFull(c.Conn, c.buf[header:]); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.buf)
	c.buf = c.buf[n:]
	return n, nil
}
