//go:build linux

package ktls

import (
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"sync"
	"time"
)

// A Server makes sessions that share a configuration and the keys of session
// tickets. Its methods may be called concurrently.
type Server struct {
	base     *tls.Config
	prefer12 Cipher

	mu      sync.Mutex
	keys    [][32]byte // newest first
	renewAt time.Time
}

const (
	ticketKeyAge = 24 * time.Hour
	ticketKeys   = 7 // tickets live seven days, as in crypto/tls
)

// NewServer returns a Server for cfg, whose fields must not be changed afterwards.
//
// All fields of cfg keep their meaning. Each connection uses a copy of cfg, or of the
// configuration that its GetConfigForClient returns, and the lines of the key log go to
// the KeyLogWriter of that configuration. GetConfigForClient runs within
// Session.Handshake.
//
// Session tickets are sealed under keys of the Server, which it replaces daily, unless
// the caller has set keys with SetSessionTicketKeys, which may be called at any time, or
// SessionTicketKey. A configuration that GetConfigForClient returns needs the caller's
// keys set on itself; otherwise the Server's own keys are used, since crypto/tls does
// not expose the keys of cfg.
func NewServer(cfg *tls.Config) *Server { return &Server{base: cfg} }

// Session returns a new session for a connection. The caller must call its Close.
func (s *Server) Session() (*Session, error) {
	ss := &Session{wire: wire{need: make(chan struct{}), more: make(chan struct{}), quit: make(chan struct{})}}
	cfg := s.base.Clone()
	if !cfg.SessionTicketsDisabled {
		keys, err := s.ticketKeys(time.Now())
		if err != nil {
			return nil, err
		}
		cfg.SetSessionTicketKeys(keys)
	}
	// The keys just set apply only if the configuration returned here has none
	// (tls.Config.GetConfigForClient).
	cfg.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		return s.configFor(hello, &ss.secrets)
	}
	ss.tls = tls.Server(&ss.wire, cfg)
	return ss, nil
}

// configFor returns the configuration of a connection, with log as its KeyLogWriter.
func (s *Server) configFor(hello *tls.ClientHelloInfo, log *secretLog) (*tls.Config, error) {
	from := s.base
	if from.GetConfigForClient != nil {
		chosen, err := from.GetConfigForClient(hello)
		if err != nil {
			return nil, err
		}
		if chosen != nil {
			from = chosen
		}
	}
	cfg := from.Clone()
	log.next, cfg.KeyLogWriter = cfg.KeyLogWriter, log
	if suites := s.prefer12.restrict(cfg, hello); len(suites) > 0 {
		cfg.CipherSuites = suites
	}
	return cfg, nil
}

func (s *Server) ticketKeys(now time.Time) ([][32]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.keys) > 0 && now.Before(s.renewAt) {
		return s.keys, nil
	}
	var k [32]byte
	if _, err := rand.Read(k[:]); err != nil {
		return nil, fmt.Errorf("ktls: %w", err)
	}
	s.keys = append([][32]byte{k}, s.keys[:min(len(s.keys), ticketKeys-1)]...)
	s.renewAt = now.Add(ticketKeyAge)
	return s.keys, nil
}
