package board

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A monitor speaks QMP, QEMU's machine protocol, one command at a time
// (docs/interop/qmp-spec.txt of QEMU).
type monitor struct {
	mu sync.Mutex
	c  net.Conn
	r  *bufio.Reader
}

// newMonitor reads the greeting and leaves negotiation mode.
func newMonitor(ctx context.Context, c net.Conn) (*monitor, error) {
	m := &monitor{c: c, r: bufio.NewReader(c)}
	stop := deadline(ctx, c)
	_, err := m.r.ReadBytes('\n')
	stop()
	if err != nil {
		return nil, fmt.Errorf("board: monitor: greeting: %w", err)
	}
	return m, m.execute(ctx, "qmp_capabilities", nil, nil)
}

// execute runs a command and decodes its answer into result, unless that is nil.
func (m *monitor) execute(ctx context.Context, command string, args map[string]any, result any) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	defer deadline(ctx, m.c)()
	req, err := json.Marshal(struct {
		Execute   string         `json:"execute"`
		Arguments map[string]any `json:"arguments,omitempty"`
	}{command, args})
	if err != nil {
		return fmt.Errorf("board: monitor: %s: %w", command, err)
	}
	if _, err := m.c.Write(append(req, '\n')); err != nil {
		return fmt.Errorf("board: monitor: %s: %w", command, err)
	}
	for {
		line, err := m.r.ReadBytes('\n')
		if err != nil {
			return fmt.Errorf("board: monitor: %s: %w", command, err)
		}
		var resp struct {
			Event  string
			Return json.RawMessage
			Error  *struct{ Class, Desc string }
		}
		if err := json.Unmarshal(line, &resp); err != nil {
			return fmt.Errorf("board: monitor: %s: %w", command, err)
		}
		switch {
		case resp.Event != "":
			continue
		case resp.Error != nil:
			return fmt.Errorf("board: monitor: %s: %s: %s", command, resp.Error.Class, resp.Error.Desc)
		case result == nil:
			return nil
		}
		return json.Unmarshal(resp.Return, result)
	}
}

// forward forwards a port of 127.0.0.1, chosen by the kernel, to a port of the guest.
func (m *monitor) forward(ctx context.Context, guestPort int) (string, error) {
	var out string
	human := func(line string) error {
		return m.execute(ctx, "human-monitor-command", map[string]any{"command-line": line}, &out)
	}
	if err := human(fmt.Sprintf("hostfwd_add net0 tcp:127.0.0.1:0-:%d", guestPort)); err != nil {
		return "", err
	}
	if strings.TrimSpace(out) != "" {
		return "", fmt.Errorf("board: monitor: hostfwd_add: %s", strings.TrimSpace(out))
	}
	if err := human("info usernet"); err != nil {
		return "", err
	}
	port, ok := hostPort(out, guestPort)
	if !ok {
		return "", fmt.Errorf("board: monitor: info usernet lists no forward to port %d:\n%s", guestPort, out)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), nil
}

// hostPort finds the forward to a port of the guest in the table of info usernet:
//
//	Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ
//	TCP[HOST_FORWARD]  16       127.0.0.1 41837       10.0.2.15  8443     0     0
func hostPort(table string, guestPort int) (int, bool) {
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 6 || f[0] != "TCP[HOST_FORWARD]" || f[5] != strconv.Itoa(guestPort) {
			continue
		}
		if port, err := strconv.Atoi(f[3]); err == nil && port > 0 {
			return port, true
		}
	}
	return 0, false
}

// deadline applies the deadline and end of ctx to reads and writes of c. The caller calls the
// returned function when it has finished with c.
func deadline(ctx context.Context, c net.Conn) func() {
	c.SetDeadline(time.Time{})
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	return func() { stop() }
}
