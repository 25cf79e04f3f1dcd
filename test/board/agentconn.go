package board

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"uringhttpd/test/board/wire"
)

const (
	// defaultTimeout is for requests whose context has no deadline.
	defaultTimeout = 2 * time.Minute
	// grace is the time that the host waits longer than the agent, so that the agent's
	// report of the slow operation still arrives.
	grace = 15 * time.Second
)

// An agentConn sends requests to the agent and distributes the responses.
type agentConn struct {
	c       net.Conn
	writeMu sync.Mutex

	mu      sync.Mutex
	next    uint64
	waiting map[uint64]chan wire.Response
	err     error // why no more responses arrive
	done    chan struct{}
}

func newAgentConn(c net.Conn) *agentConn {
	a := &agentConn{c: c, waiting: map[uint64]chan wire.Response{}, done: make(chan struct{})}
	go a.read()
	return a
}

// read distributes responses until the connection ends.
func (a *agentConn) read() {
	in := bufio.NewReaderSize(a.c, 64<<10)
	var err error
	for {
		var line []byte
		if line, err = wire.ReadLine(in); err != nil {
			break
		}
		var resp wire.Response
		if err = json.Unmarshal(line, &resp); err != nil {
			break
		}
		a.mu.Lock()
		ch := a.waiting[resp.ID]
		delete(a.waiting, resp.ID)
		a.mu.Unlock()
		if ch != nil {
			ch <- resp // never blocks: the channel has room for one response
		}
	}
	if err == io.EOF {
		err = errors.New("the machine ended")
	}
	a.mu.Lock()
	a.err = err
	a.mu.Unlock()
	close(a.done)
}

// call sends a request and decodes its result into result, unless that is nil. The
// context's deadline applies to the agent, too.
func (a *agentConn) call(ctx context.Context, op wire.Op, args, result any) error {
	timeout := defaultTimeout
	if d, ok := ctx.Deadline(); ok {
		timeout = time.Until(d)
	}
	if timeout <= 0 {
		return fmt.Errorf("board: %s: %w", op, context.DeadlineExceeded)
	}
	raw, err := json.Marshal(args)
	if err != nil {
		return fmt.Errorf("board: %s: %w", op, err)
	}
	ch := make(chan wire.Response, 1)
	a.mu.Lock()
	a.next++
	id := a.next
	a.waiting[id] = ch
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		delete(a.waiting, id)
		a.mu.Unlock()
	}()

	line, err := json.Marshal(wire.Request{ID: id, Op: op, Timeout: timeout, Args: raw})
	if err != nil {
		return fmt.Errorf("board: %s: %w", op, err)
	}
	a.writeMu.Lock()
	err = a.c.SetWriteDeadline(time.Now().Add(timeout + grace))
	if err == nil {
		_, err = a.c.Write(append(line, '\n'))
	}
	a.writeMu.Unlock()
	if err != nil {
		return fmt.Errorf("board: %s: %w", op, err)
	}

	resp, err := a.wait(ctx, ch, timeout+grace)
	if err != nil {
		return fmt.Errorf("board: %s: %w", op, err)
	}
	if resp.Error != "" {
		return fmt.Errorf("board: %s: %s", op, resp.Error)
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(resp.Result, result); err != nil {
		return fmt.Errorf("board: %s: %w", op, err)
	}
	return nil
}

// wait waits for one response. The deadline of the context does not end the wait, since the
// agent answers soon after it with more details.
func (a *agentConn) wait(ctx context.Context, ch <-chan wire.Response, limit time.Duration) (wire.Response, error) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	cancelled := ctx.Done()
	for {
		select {
		case resp := <-ch:
			return resp, nil
		case <-cancelled:
			if errors.Is(ctx.Err(), context.Canceled) {
				return wire.Response{}, ctx.Err()
			}
			cancelled = nil
		case <-timer.C:
			return wire.Response{}, errors.New("the agent does not answer; the kernel log may say why")
		case <-a.done:
			select {
			case resp := <-ch: // the response arrived just before the end
				return resp, nil
			default:
			}
			a.mu.Lock()
			defer a.mu.Unlock()
			return wire.Response{}, a.err
		}
	}
}
