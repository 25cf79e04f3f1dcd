package matrix

import (
	"strings"
	"testing"

	"uringhttpd/test/board/client"
)

// outcome returns an outcome without faults.
func outcome(name, cipher, engine string) Outcome {
	c := Cell{Kernel: "amd64", Engine: engine, TLS: "1.3", Cipher: cipher, Client: name, Place: "chunk", Buffers: "default", Network: "plain"}
	_, o := c.Plan(1)
	n := o.Downloads
	r := client.Result{Complete: n, Connections: n, Ends: map[string]int{"close_notify": n}, Errors: map[string]int{}}
	out := Outcome{Cell: c, Options: o, Result: r, InKernel: int64(n)}
	if !c.InKernel() {
		out.InKernel = 0
	}
	if o.Leave != "" {
		out.Result.Complete, out.Result.Left = n-5, 5
	}
	return out
}

func TestFaultsOfOutcome(t *testing.T) {
	tests := []struct {
		name           string
		client, cipher string
		engine         string
		change         func(*Outcome)
		want           string // part of the fault; "" for none
	}{
		{"well", "fast", aes128, "cryptd", func(*Outcome) {}, ""},
		{"in user space", "fast", chacha, "cryptd", func(*Outcome) {}, ""},
		{"left", hangsUp, aes128, "cryptd", func(*Outcome) {}, ""},
		{"silent client reset", silent, aes128, "sync", func(o *Outcome) {
			o.Result.Complete--
			o.Result.Truncated, o.Result.Ends["reset"] = 1, 1
		}, ""},
		{"half-closed before kernel TLS", "half-close", aes128, "sync", func(o *Outcome) { o.InKernel -= 3 }, ""},

		{"cut by a reset", "fast", aes128, "sync", func(o *Outcome) {
			o.Result.Complete--
			o.Result.Truncated, o.Result.Ends["reset"] = 1, 1
		}, "complete of"},
		{"truncated silently", silent, aes128, "sync", func(o *Outcome) {
			o.Result.Complete--
			o.Result.Truncated, o.Result.Silently = 1, 1
		}, "as if they were whole"},
		{"wrong bytes", "fast", aes128, "sync", func(o *Outcome) { o.Result.Corrupt = 1 }, "wrong bytes"},
		{"wrong bytes of a client that left", alerts, aes128, "sync", func(o *Outcome) { o.Result.Corrupt = 1 }, "wrong bytes"},
		{"late", "fast", aes128, "sync", func(o *Outcome) { o.Result.Errors["timeout"] = 1 }, "hang"},
		{"missing end", "fast", aes128, "sync", func(o *Outcome) { o.Result.Ends["timeout"] = 1 }, "hang"},
		{"missing result of a client that left", hangsUp, aes128, "sync", func(o *Outcome) { o.Result.Complete-- }, "complete and"},
		{"no client left", hangsUp, aes128, "sync", func(o *Outcome) {
			o.Result.Complete += o.Result.Left
			o.Result.Left = 0
		}, "no client left"},
		{"a FIN alone", "fast", aes128, "sync", func(o *Outcome) { o.Result.Ends["close_notify"]-- }, "close_notify"},
		{"in user space without a reason", "fast", aes128, "sync", func(o *Outcome) { o.InKernel-- }, "kernel TLS"},
		{"kernel TLS enabled more often than connections", "fast", aes128, "sync", func(o *Outcome) { o.InKernel++ }, "kernel TLS"},
		{"kernel TLS enabled by the test of an engine", "fast", aes128, "caam", func(o *Outcome) { o.InKernel++ }, ""},
		{"too much pending", "fast", aes128, "sync", func(o *Outcome) { o.PendingMax = MaxPending + 1 }, "inside kernel TLS"},
		{"too much held", "fast", aes128, "cryptd", func(o *Outcome) { o.Queued, o.PendingMax = MaxHeld-1000, 1001 }, "send queue"},
		{"too many threads", "fast", aes128, "cryptd", func(o *Outcome) { o.Threads = MaxThreads + 1 }, "threads"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := outcome(tt.client, tt.cipher, tt.engine)
			tt.change(&o)
			faults := strings.Join(o.Faults(), "; ")
			if tt.want == "" && faults != "" || !strings.Contains(faults, tt.want) {
				t.Errorf("got %q, want %q", faults, tt.want)
			}
		})
	}
}

// TestLineCountsEachDownloadOnce checks the counts of a line, and the table.
func TestLineCountsEachDownloadOnce(t *testing.T) {
	o := outcome("fast", aes128, "sync")
	n := o.Result.Complete
	o.Result.Complete = n - 10
	o.Result.Truncated, o.Result.Silently, o.Result.Corrupt, o.Result.Left = 3, 2, 1, 3
	o.Result.Errors["timeout"], o.Result.Errors["dial"] = 2, 1
	var l Line
	l.Add(o)
	l.Add(outcome("fast", aes128, "sync"))
	if l.Downloads != 2*n || l.Cut != 1 || l.Silently != 2 || l.Hangs != 2 || l.Other != 1 || l.Faulty != 1 || l.Cells != 2 {
		t.Errorf("got %+v for %d downloads", l, 2*n)
	}
	table := Table([]Line{l, l})
	if lines := strings.Split(strings.TrimSpace(table), "\n"); len(lines) != 5 || !strings.HasPrefix(lines[4], "| all |") {
		t.Errorf("got\n%s", table)
	}
}

// TestPlanFollowsCell: the plan of a cell has its sizes, files and options.
func TestPlanFollowsCell(t *testing.T) {
	m := Boards()
	m.Factors = m.Factors[m.factor(Client):] // a plan's sizes do not depend on the other factors
	m.Rules = nil
	m.Rows(func(r Row) {
		c := Cell{TLS: "1.3", Cipher: aes128, Client: m.Level(r, Client), Place: m.Level(r, Place)}
		f, o := c.Plan(1)
		end := o.Offset + o.Length
		for _, also := range o.Also {
			end = max(end, also.Offset+also.Length)
		}
		switch {
		case end > f.Content.Size:
			t.Errorf("%v: a range ends at %d of %d", c, end, f.Content.Size)
		case o.Pipeline > 0 && o.Downloads%o.Pipeline != 0:
			t.Errorf("%v: %d downloads, pipelined by %d", c, o.Downloads, o.Pipeline)
		case c.Client == atOnce && o.Downloads < 64:
			t.Errorf("%v: %d downloads", c, o.Downloads)
		case strings.ContainsAny(f.Path, " +%"):
			t.Errorf("%v: path %q", c, f.Path)
		case c.Place == "across 4 GiB" && (o.Offset >= 1<<32 || o.Offset+o.Length <= 1<<32):
			t.Errorf("%v: range of %d at %d", c, o.Length, o.Offset)
		}
	})
}
