package board

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"uringhttpd/test/board/client"
	"uringhttpd/test/board/pattern"
)

// SharpOptions vary RunSharp. With the zero value, servers that lose data are known to lose
// some.
type SharpOptions struct {
	Daemon    Daemon   // the program to run; tests run mutants, too
	Process   *Process // if set, a running daemon to use in place of Daemon; it is not stopped
	Downloads int      // default 96
	Parallel  int      // default 8
	Size      int64    // of the file, default 256 KiB + 1
	KeepAlive bool
	Extra     int // bytes sent after each request that the server leaves unread
	Plain     bool
	// ReadSize and Pause set how slowly the clients read: by default 4096 bytes, at most
	// every 4 ms.
	ReadSize int
	Pause    time.Duration
}

// RunSharp downloads a file many times over the board's loopback, with small send buffers at
// the server and slow readers with small receive buffers. TCP then never has room for the
// records that the engine has encrypted, so records wait inside kernel TLS, and a server that
// closes, or shuts down sending, before they are sent loses them. RunSharp returns the result
// of the downloads. Its error means that they could not be made, or that not every
// connection used kernel TLS.
//
// Without a Process it starts a daemon of its own, so no other may run; it stops the daemon
// and restores the kernel's parameters before it returns.
func RunSharp(ctx context.Context, m *Machine, o SharpOptions) (r client.Result, err error) {
	restore, err := m.SetSysctl(ctx, "net.ipv4.tcp_wmem", "4096 16384 16384")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, restore()) }()

	if o.Downloads == 0 {
		o.Downloads = 96
	}
	if o.Parallel == 0 {
		o.Parallel = 8
	}
	if o.Size == 0 {
		o.Size = 256<<10 + 1
	}
	if o.ReadSize == 0 {
		o.ReadSize, o.Pause = 4096, 4*time.Millisecond
	}
	content := pattern.Content{Seed: 0x5a4a, Size: o.Size}
	const name = "/sharp.bin"
	if err := m.MakeFile(ctx, Root+name, content); err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, m.Remove(ctx, Root+name)) }()

	if o.Process == nil {
		p, err := m.StartDaemon(ctx, o.Daemon)
		if err != nil {
			return r, err
		}
		defer func() { err = errors.Join(err, p.Stop(ctx)) }()
	}
	roots, err := m.Roots()
	if err != nil {
		return r, err
	}
	stat, err := m.TLSStat(ctx)
	if err != nil {
		return r, err
	}
	port := TLSPort
	if o.Plain {
		port = PlainPort
	}
	r, err = m.Download(ctx, client.Options{
		Address:       net.JoinHostPort("127.0.0.1", strconv.Itoa(port)),
		Path:          name,
		Plain:         o.Plain,
		Roots:         roots,
		Downloads:     o.Downloads,
		Parallel:      o.Parallel,
		KeepAlive:     o.KeepAlive,
		Extra:         o.Extra,
		Content:       &content,
		ReceiveBuffer: 4096,
		ReadSize:      o.ReadSize,
		Pause:         o.Pause,
		Timeout:       2 * time.Minute,
	})
	if err != nil {
		return r, err
	}
	// A daemon may test kernel TLS before it listens, hence the difference; and a daemon that
	// waits long for an engine tests it over connections of its own.
	after, err := m.TLSStat(ctx)
	if err != nil {
		return r, err
	}
	want := int64(r.Connections)
	if o.Plain {
		want = 0
	}
	if got := after[TxSw] - stat[TxSw]; got < want || got > want && !m.Marked {
		return r, fmt.Errorf("board: kernel TLS was enabled %d times for %d connections; these downloads prove nothing about it", got, r.Connections)
	}
	return r, nil
}

// Download runs package client on the board.
func (m *Machine) Download(ctx context.Context, o client.Options) (client.Result, error) {
	var r client.Result
	options, err := m.writeOptions(ctx, o)
	if err != nil {
		return r, err
	}
	e, err := m.Run(ctx, nil, DownloadPath, options)
	if err != nil {
		return r, err
	}
	if e.Status != 0 && e.Status != 1 {
		return r, fmt.Errorf("board: download: status %d, signal %d: %s", e.Status, e.Signal, e.Stderr)
	}
	if err := json.Unmarshal(e.Stdout, &r); err != nil {
		return r, fmt.Errorf("board: download: %w in %q", err, e.Stdout)
	}
	return r, nil
}

// StartDownload starts package client on the board, and does not wait for it.
func (m *Machine) StartDownload(ctx context.Context, o client.Options) (*Process, error) {
	options, err := m.writeOptions(ctx, o)
	if err != nil {
		return nil, err
	}
	return m.Start(ctx, nil, DownloadPath, options)
}

// writeOptions writes the client's options to a file of the board.
func (m *Machine) writeOptions(ctx context.Context, o client.Options) (path string, err error) {
	b, err := json.Marshal(o)
	if err != nil {
		return "", fmt.Errorf("board: %w", err)
	}
	m.mu.Lock()
	m.downloads++
	path = fmt.Sprintf("/tmp/download-%d.json", m.downloads)
	m.mu.Unlock()
	return path, m.WriteFile(ctx, path, b, 0o644)
}
