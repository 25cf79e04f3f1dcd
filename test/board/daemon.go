package board

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"uringhttpd/test/board/wire"
)

// The paths of the daemon's files, and its ports, with StartDaemon.
const (
	ConfigPath = "/etc/uringhttpd/uringhttpd.yaml"
	CertPath   = "/etc/uringhttpd/cert.pem"
	KeyPath    = "/etc/uringhttpd/key.pem"
	TLSPort    = 8443
	PlainPort  = 8080
)

// DefaultConfig serves Root on TLSPort and PlainPort, and requires kernel TLS: without
// kernel TLS, the daemon does not serve at all.
const DefaultConfig = `listen:
  - address: ":8443"
    tls: true
  - address: ":8080"
root: /srv
tls:
  certificate: cert.pem
  key: key.pem
  kernel: require
  cipher: aes-gcm
  minimum_version: "1.3"
`

// A Daemon describes the program to start. The zero value starts Spec.Program with
// DefaultConfig.
type Daemon struct {
	Wrong  string // a program of Spec.Wrong; "" is Spec.Program
	Config string // YAML
	Env    []string
	Nice   int // priority, from -20 (first) to 19
}

// StartDaemon starts a daemon and returns once it listens on both ports.
func (m *Machine) StartDaemon(ctx context.Context, d Daemon) (*Process, error) {
	path := ProgramPath
	if d.Wrong != "" {
		path = WrongPath(d.Wrong)
	}
	config := d.Config
	if config == "" {
		config = DefaultConfig
	}
	if err := m.WriteFile(ctx, ConfigPath, []byte(config), 0o644); err != nil {
		return nil, err
	}
	p, err := m.startServer(ctx, wire.Command{
		Argv: []string{path, "serve", "-config", ConfigPath},
		Env:  d.Env,
		Nice: d.Nice,
	}, TLSPort, PlainPort)
	if err != nil {
		return nil, err
	}
	return p, p.awaitRing(ctx)
}

// StartServer starts a server other than the daemon, which finds its certificate at
// CertPath and its key at KeyPath, and returns once it listens on TLSPort.
func (m *Machine) StartServer(ctx context.Context, argv ...string) (*Process, error) {
	return m.startServer(ctx, wire.Command{Argv: argv}, TLSPort)
}

func (m *Machine) startServer(ctx context.Context, c wire.Command, ports ...int) (*Process, error) {
	id, err := m.ownIdentity()
	if err != nil {
		return nil, err
	}
	if err := m.WriteFile(ctx, CertPath, id.cert, 0o644); err != nil {
		return nil, err
	}
	if err := m.WriteFile(ctx, KeyPath, id.key, 0o600); err != nil {
		return nil, err
	}
	p, err := m.start(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := p.awaitPorts(ctx, ports...); err != nil {
		if e, outErr := p.Output(ctx); outErr == nil {
			err = fmt.Errorf("%w; the daemon wrote:\n%s", err, e.Stderr)
		}
		// The server may have ended, which is the usual reason for an error.
		_ = p.Signal(ctx, syscall.SIGKILL)
		return nil, err
	}
	return p, nil
}

// awaitPorts waits until sockets listen on all ports, or the program has ended.
func (p *Process) awaitPorts(ctx context.Context, ports ...int) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		e, err := p.Wait(ctx)
		if err == nil {
			err = fmt.Errorf("board: the daemon ended with status %d and signal %d before it listened", e.Status, e.Signal)
		}
		ended <- err
	}()
	listening := make(chan error, 1)
	go func() {
		for _, port := range ports {
			if err := p.m.WaitListening(ctx, port); err != nil {
				listening <- err
				return
			}
		}
		listening <- nil
	}()
	select {
	case err := <-ended:
		cancel()
		<-listening
		return err
	case err := <-listening:
		cancel()
		<-ended
		return err
	}
}

// awaitRing waits until the program has its ring, which it makes after it starts to listen:
// resources counted before that are no baseline.
func (p *Process) awaitRing(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		u, err := p.Usage(ctx)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(u.FDs, func(fd string) bool { return strings.HasSuffix(fd, "anon_inode:[io_uring]") }) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("board: the daemon listens but makes no ring: %w", ctx.Err())
		}
	}
}

// Roots returns the certificate, in PEM, that clients of a machine's daemon must trust; its
// names are localhost and 127.0.0.1.
func (m *Machine) Roots() ([]byte, error) {
	id, err := m.ownIdentity()
	if err != nil {
		return nil, err
	}
	return id.cert, nil
}

// An identity is a key and its certificate, in PEM.
type identity struct {
	cert, key []byte
}

// ownIdentity returns the machine's identity, and makes it at the first call.
func (m *Machine) ownIdentity() (*identity, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.identity == nil {
		id, err := newIdentity()
		if err != nil {
			return nil, fmt.Errorf("board: certificate: %w", err)
		}
		m.identity = id
	}
	return m.identity, nil
}

func newIdentity() (*identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "board"},
		// The clocks of the board and the host differ a little.
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
		DNSNames:              []string{"localhost"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return &identity{
		cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}),
		key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}),
	}, nil
}
