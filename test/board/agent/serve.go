package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"uringhttpd/test/board/wire"
)

// maxTimeout is the limit for the timeout of every request.
const maxTimeout = 10 * time.Minute

// A server answers requests, each in its own goroutine.
type server struct {
	out   *json.Encoder
	outMu sync.Mutex

	mu   sync.Mutex
	jobs []*job // started in the background; the handle is the index
}

// serve answers requests until the host requests the shutdown or closes the connection.
func serve(port io.ReadWriter) error {
	s := &server{out: json.NewEncoder(port)}
	in := bufio.NewReaderSize(port, 64<<10)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var pending sync.WaitGroup
	for {
		line, err := wire.ReadLine(in)
		if err != nil {
			return fmt.Errorf("the host closed the connection: %w", err)
		}
		var req wire.Request
		if err := json.Unmarshal(line, &req); err != nil {
			return fmt.Errorf("request: %w", err)
		}
		if req.Op == wire.OpShutdown {
			cancel()
			s.stopAll()
			pending.Wait()
			return s.answer(req.ID, nil, nil)
		}
		pending.Add(1)
		go func() {
			defer pending.Done()
			ctx, cancel := context.WithTimeout(ctx, min(req.Timeout, maxTimeout))
			defer cancel()
			result, err := s.do(ctx, req)
			if err := s.answer(req.ID, result, err); err != nil {
				fmt.Fprintln(os.Stderr, "agent: answer:", err)
			}
		}()
	}
}

func (s *server) answer(id uint64, result any, err error) error {
	resp := wire.Response{ID: id}
	if err == nil && result != nil {
		resp.Result, err = json.Marshal(result)
	}
	if err != nil {
		resp.Error = err.Error()
	}
	s.outMu.Lock()
	defer s.outMu.Unlock()
	return s.out.Encode(resp)
}

// do carries out one request.
func (s *server) do(ctx context.Context, req wire.Request) (any, error) {
	switch req.Op {
	case wire.OpHello:
		return hello()
	case wire.OpWrite:
		return with(req, func(a wire.Write) (any, error) { return nil, writeFile(a) })
	case wire.OpAlter:
		return with(req, func(a wire.Alter) (any, error) { return nil, alterFile(a) })
	case wire.OpPattern:
		return with(req, func(a wire.Pattern) (any, error) { return nil, writePattern(ctx, a) })
	case wire.OpRead:
		return with(req, func(a wire.Read) (any, error) { return readFile(a) })
	case wire.OpRemove:
		return with(req, func(a wire.Read) (any, error) { return nil, os.RemoveAll(a.Path) })
	case wire.OpTouch:
		return with(req, func(a wire.Read) (any, error) { return nil, os.Chtimes(a.Path, time.Now(), time.Now()) })
	case wire.OpRun:
		return with(req, func(a wire.Command) (any, error) { return runToEnd(ctx, a) })
	case wire.OpStart:
		return with(req, func(a wire.Command) (any, error) { return s.start(a) })
	case wire.OpSignal:
		return with(req, func(a wire.Signal) (any, error) { return nil, s.signal(a) })
	case wire.OpWait:
		return with(req, func(a wire.Handle) (any, error) { return s.wait(ctx, a) })
	case wire.OpOutput:
		return with(req, func(a wire.Handle) (any, error) { return s.output(a) })
	case wire.OpProcess:
		return with(req, func(a wire.Handle) (any, error) { return s.process(a) })
	case wire.OpListening:
		return with(req, func(a wire.Listening) (any, error) { return nil, listening(ctx, a.Port) })
	case wire.OpMap:
		return with(req, func(a wire.Map) (any, error) { return nil, mapDevice(a) })
	case wire.OpSuspend:
		return with(req, func(a wire.Suspend) (any, error) { return nil, suspendDevice(a) })
	case wire.OpMount:
		return with(req, func(a wire.Mount) (any, error) { return nil, mountDisk(a) })
	case wire.OpQueue:
		return with(req, func(a wire.Queue) (any, error) { return nil, setQueue(a) })
	case wire.OpDropped:
		return with(req, dropped)
	case wire.OpAEAD:
		return with(req, func(a wire.AEAD) (any, error) { return nil, instantiate(a.Name) })
	case wire.OpModule:
		return with(req, func(a wire.Module) (any, error) { return nil, module(a) })
	case wire.OpNetem:
		return with(req, func(a wire.Netem) (any, error) { return nil, netem(a) })
	}
	return nil, fmt.Errorf("unknown request %q; the agent and the host are of different builds", req.Op)
}

// with decodes the arguments of a request and calls f with them.
func with[A any](req wire.Request, f func(A) (any, error)) (any, error) {
	var args A
	if err := json.Unmarshal(req.Args, &args); err != nil {
		return nil, fmt.Errorf("arguments of %s: %w", req.Op, err)
	}
	return f(args)
}

func hello() (any, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return nil, os.NewSyscallError("uname", err)
	}
	return wire.Hello{
		Kernel:  unix.ByteSliceToString(u.Release[:]),
		Machine: unix.ByteSliceToString(u.Machine[:]),
		CPUs:    runtime.NumCPU(),
	}, nil
}

// instantiate binds an AF_ALG socket to an AEAD, which makes the kernel build it from its
// templates. It is no error if the AEAD exists already: on a bind to the name of a template
// the kernel registers the instance under its own name, and the bind itself then fails.
func instantiate(name string) error {
	fd, err := unix.Socket(unix.AF_ALG, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket AF_ALG: %w; is algif_aead loaded?", err)
	}
	defer unix.Close(fd)
	err = unix.Bind(fd, &unix.SockaddrALG{Type: "aead", Name: name})
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("bind AF_ALG aead %s: %w", name, err)
	}
	return nil
}
