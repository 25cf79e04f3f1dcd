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

// The files whose records fail: the first is one record, together with its head.
var (
	oneRecord   = pattern.Content{Seed: 0xae4d, Size: 1000}
	manyRecords = pattern.Content{Seed: 0x1a43e, Size: 256 << 10}
)

const (
	oneRecordName   = "/record.bin"
	manyRecordsName = "/records.bin"
)

// A recordFault is a record at which the engine fails, or which it corrupts.
type recordFault struct {
	name   string
	path   string
	record int  // number in the connection; the head begins the first record
	last   bool // the record is close_notify, so the body is complete
	slow   bool // the daemon is only waiting when the record fails
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

// engineConfig has a stall_timeout so long that a slow or failed engine is never taken for a
// stalled client.
//
// At its log level each line about a record is logged. At the default level, repetitions
// within a minute are only counted.
// ones are only counted.
const engineConfig = board.DefaultConfig + "limits:\n  stall_timeout: 10m\nlog:\n  level: debug\n"

// testEngineFaults: the engine fails at, or corrupts, one record after the other. The client
// detects it at once, other clients are not affected, and the log reports the cause once.
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
				// A reset also discards data that the client has not read yet.
				if r.Complete > 0 && !f.last || r.Corrupt != 0 || r.Ends["close_notify"] != 0 || r.Errors["timeout"] != 0 {
					t.Errorf("got %+v, want no wrong byte, no timeout and no close_notify", r)
				}
				if fault == "fail_in" && !f.last {
					wantCutOff(t, ways[0], r, 1)
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

// strike makes a download that the fault hits. There are two kinds of faults.
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
		t.Fatalf("%d records were hit, want 1", n)
	}
	return r
}

// loggedFailure expects one line about the response, which is a warning with the engine's
// error unless the body was complete, and no other warning.
func (f recordFault) loggedFailure(ctx context.Context, t *testing.T, p *board.Process, before int) {
	t.Helper()
	responses, others := f.logged(ctx, t, p, before, 0)
	if f.last {
		if strings.Contains(responses, "level=WARN") || strings.Count(responses, "\n") != 1 || others != "" {
			t.Errorf("logged for a complete body: %s%s", responses, others)
		}
		return
	}
	if !strings.Contains(responses, "response cut off") || !strings.Contains(responses, "input/output error") || strings.Count(responses, "\n") != 1 || others != "" {
		t.Errorf("logged: %s%s; want one line that has the engine's error", responses, others)
	}
}

// loggedCorruption expects one line with the client's alert and the driver's name, and one
// line about the response. The kernel may have accepted all of the response before the
// client sent its alert.
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

// logged returns the lines about the fault's response, and all other warnings, once there is
// a line about the response and the given number of warnings.
func (f recordFault) logged(ctx context.Context, t *testing.T, p *board.Process, before, complaints int) (responses, others string) {
	t.Helper()
	eventually(ctx, t, "log lines about a record", func() bool {
		responses, others = "", ""
		for _, line := range logLines(ctx, t, p)[before:] {
			switch {
			case strings.Contains(line, " repeated="): // from an earlier fault
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

// testWrongEngineFaults: mutants that leave the end of a connection to the kernel, do not
// read its error, or do not read the client's alert, are caught.
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
			endServer(ctx, t, p) // the server may wait for the client
			if log := strings.Join(logLines(ctx, t, p), "\n"); !tt.caught(r, log) {
				t.Errorf("not caught: %+v\n%s", r, log)
			}
		})
	}
}
