//go:build board

package board_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"uringhttpd/test/board"
	"uringhttpd/test/board/client"
	"uringhttpd/test/board/pattern"
	"uringhttpd/test/caamsim"
	"uringhttpd/test/wrong"
)

// The files of which records go wrong: one record has all of the first, with its head.
var (
	oneRecord   = pattern.Content{Seed: 0xae4d, Size: 1000}
	manyRecords = pattern.Content{Seed: 0x1a43e, Size: 256 << 10}
)

const (
	oneRecordName   = "/record.bin"
	manyRecordsName = "/records.bin"
)

// A recordFault is a record with which the engine fails, or that it corrupts.
type recordFault struct {
	name   string
	path   string
	record int  // of the connection; the head begins the first
	last   bool // it is close_notify: the body is whole
	slow   bool // the daemon only waits when it fails
	brief  bool
}

var recordFaults = []recordFault{
	{"the only record", oneRecordName, 1, false, false, true},
	{"close_notify", oneRecordName, 2, true, false, true},
	{"the first record", manyRecordsName, 1, false, false, false},
	{"a record", manyRecordsName, 9, false, false, false},
	{"the last spliced record", manyRecordsName, 16, false, false, false},
	{"the end of the file", manyRecordsName, 17, false, false, false},
	{"close_notify after many", manyRecordsName, 18, true, false, false},
	{"a record for which the gate waits", manyRecordsName, 2, false, true, true},
	{"the record for which the end of the file waits", manyRecordsName, 16, false, true, false},
}

func (f recordFault) content() *pattern.Content {
	if f.path == oneRecordName {
		return &oneRecord
	}
	return &manyRecords
}

// engineConfig never takes an engine that is slow, or failed, for a client that stalls.
//
// At its level the log has each line about a record, of which the next one is only counted
// for a minute.
const engineConfig = board.DefaultConfig + "limits:\n  stall_timeout: 10m\nlog:\n  level: debug\n"

// testEngineFaults: the engine fails, or corrupts, one record after the other. The
// client can tell, at once; others do not notice; and the log says once what it was.
func testEngineFaults(ctx context.Context, t *testing.T, m *board.Machine, effort effort) {
	for name, c := range map[string]pattern.Content{oneRecordName: oneRecord, manyRecordsName: manyRecords} {
		if err := m.MakeFile(ctx, board.Root+name, c); err != nil {
			t.Fatal(err)
		}
	}
	p, err := m.StartDaemon(ctx, board.Daemon{Config: engineConfig})
	if err != nil {
		t.Fatal(err)
	}
	base := warm(ctx, t, m, p)
	for _, f := range recordFaults {
		for _, fault := range []string{"fail_in", "corrupt_in"} {
			t.Run(f.name+"/"+fault, func(t *testing.T) {
				if effort == brief && !f.brief {
					t.Skip("left for make test-all")
				}
				before := len(logLines(ctx, t, p))
				r := f.strike(ctx, t, m, fault)
				// A reset takes what the client has not read yet, too.
				if r.Complete > 0 && !f.last || r.Corrupt != 0 || r.Ends["close_notify"] != 0 || r.Errors["timeout"] != 0 {
					t.Errorf("got %+v, want no wrong byte, no timeout and no close_notify", r)
				}
				if fault == "fail_in" && !f.last {
					told(t, ways[0], r, 1)
				}
				complete(ctx, t, m, 2, ways[0], ways[1])
				if fault == "fail_in" {
					f.loggedFailure(ctx, t, p, before)
				} else {
					f.loggedCorruption(ctx, t, p, before)
				}
			})
		}
	}
	t.Run("leaks", func(t *testing.T) { checkLeaks(ctx, t, p, base) })
	if err := p.Stop(ctx); err != nil {
		t.Error(err)
	}
	t.Run("wrong", func(t *testing.T) {
		if effort == brief {
			t.Skip("left for make test-all")
		}
		testWrongEngineFaults(ctx, t, m)
	})
}

// strike makes a download that the fault strikes, of which there are two kinds.
func (f recordFault) strike(ctx context.Context, t *testing.T, m *board.Machine, fault string) client.Result {
	t.Helper()
	delay := "delay_us=1000"
	if f.slow {
		delay = "delay_us=200000"
	}
	tune(ctx, t, m, delay, fmt.Sprintf("%s=%d", fault, f.record))
	before := counters(ctx, t, m)
	r := ways[0].download(ctx, t, m, client.Options{Path: f.path, Content: f.content(), Timeout: 30 * time.Second})
	t.Logf("%+v", r)
	after := counters(ctx, t, m)
	if n := after["failed"] + after["corrupted"] - before["failed"] - before["corrupted"]; n != 1 {
		t.Fatalf("%d records were struck, want 1", n)
	}
	return r
}

// loggedFailure wants one line about the response, which is a complaint with the
// engine's error unless the body was whole, and no other complaint.
func (f recordFault) loggedFailure(ctx context.Context, t *testing.T, p *board.Process, before int) {
	t.Helper()
	responses, others := f.logged(ctx, t, p, before, 0)
	if f.last {
		if strings.Contains(responses, "level=WARN") || strings.Count(responses, "\n") != 1 || others != "" {
			t.Errorf("logged, of a body that is whole: %s%s", responses, others)
		}
		return
	}
	if !strings.Contains(responses, "response cut off") || !strings.Contains(responses, "input/output error") || strings.Count(responses, "\n") != 1 || others != "" {
		t.Errorf("logged: %s%s; want one line that has the engine's error", responses, others)
	}
}

// loggedCorruption wants one line that says what the client said, with what encrypted,
// and one about the response. That may have been given to the kernel as a whole before
// the client said so.
func (f recordFault) loggedCorruption(ctx context.Context, t *testing.T, p *board.Process, before int) {
	t.Helper()
	responses, others := f.logged(ctx, t, p, before, 1)
	if strings.Count(responses, "\n") != 1 || strings.Count(others, "\n") != 1 {
		t.Errorf("logged: %s%s; want one line about the response, and one about its client", responses, others)
	}
	for _, want := range []string{"client reported bad_record_mac", " remote=127.0.0.1:", " cipher=TLS_AES_128_GCM_SHA256 ", " driver=" + caamsim.Driver + " "} {
		if !strings.Contains(strings.ReplaceAll(strings.ReplaceAll(others, `"`, ""), "\n", " "), want) {
			t.Errorf("logged: %s, which lacks %q", others, want)
		}
	}
}

// logged are the lines about the fault's response, and all other complaints, once there
// is one about the response and so many complaints.
func (f recordFault) logged(ctx context.Context, t *testing.T, p *board.Process, before, complaints int) (responses, others string) {
	t.Helper()
	eventually(ctx, t, "the lines about a record", func() bool {
		responses, others = "", ""
		for _, line := range logLines(ctx, t, p)[before:] {
			switch {
			case strings.Contains(line, " repeated="): // of a fault before
			case strings.Contains(line, "path="+f.path):
				responses += line + "\n"
			case strings.Contains(line, "level=WARN") || strings.Contains(line, "level=ERROR") || strings.Contains(line, "client reported bad_record_mac"):
				others += line + "\n"
			}
		}
		return responses != "" && strings.Count(others, "\n") >= complaints
	})
	return responses, others
}

// testWrongEngineFaults: builds that leave the end of a connection to the kernel, do
// not ask for its error, and do not hear the client, are caught.
func testWrongEngineFaults(ctx context.Context, t *testing.T, m *board.Machine) {
	for _, tt := range []struct {
		variant wrong.Variant
		fault   recordFault
		kind    string
		caught  func(r client.Result, log string) bool
	}{
		{wrong.NoReset, recordFaults[3], "fail_in", func(r client.Result, _ string) bool { return r.Truncated == 1 && r.Ends["reset"] == 0 }},
		{wrong.NotAsked, recordFaults[7], "fail_in", func(r client.Result, _ string) bool { return r.Ends["timeout"]+r.Errors["timeout"] > 0 }},
		{wrong.Deaf, recordFaults[7], "corrupt_in", func(_ client.Result, log string) bool {
			return !strings.Contains(log, "client reported bad_record_mac")
		}},
	} {
		t.Run(tt.variant.Name, func(t *testing.T) {
			p, err := m.StartDaemon(ctx, board.Daemon{Wrong: tt.variant.Name, Config: engineConfig})
			if err != nil {
				t.Fatal(err)
			}
			r := tt.fault.strike(ctx, t, m, tt.kind)
			endServer(ctx, t, p) // it may wait for the client
			if log := strings.Join(logLines(ctx, t, p), "\n"); !tt.caught(r, log) {
				t.Errorf("not caught: %+v\n%s", r, log)
			}
		})
	}
}
