package doctor

import (
	"cmp"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"uringhttpd/offload"
	"uringhttpd/platform"
)

// print writes the report for a person.
func (r *Report) print(w io.Writer) {
	printBoard(w, r.Board)
	printReport(w, r.Report)
	fmt.Fprint(w, offload.BenchText(r.Bench))
	if r.Driver != nil {
		fmt.Fprintf(w, "known answers: %s\n", r.Driver)
	}
	fmt.Fprintf(w, "serve: %s\n", r.Verdict)
}

// printBoard prints the board, the SoC, and the state of each crypto engine.
func printBoard(w io.Writer, b platform.Board) {
	name := b.Model
	for _, more := range []string{b.SoC.Name, prefixed("revision ", b.SoC.Revision)} {
		if more != "" {
			name += ", " + more
		}
	}
	fmt.Fprintf(w, "board: %s\n", cmp.Or(strings.TrimPrefix(name, ", "), "not known: there is no device tree"))
	if b.Note != "" {
		fmt.Fprintf(w, "engine: %s\n", b.Note)
	}
	for _, e := range b.Engines {
		state := "driver " + e.Driver
		if e.Driver == "" {
			state = fmt.Sprintf("not in use: %s; %s", e.Reason, e.Remedy)
		}
		if e.Era > 0 {
			state = fmt.Sprintf("era %d, %s", e.Era, state)
		}
		fmt.Fprintf(w, "%s: %s: %s\n", e.Kind, e.Node, state)
		if e.Limit != "" {
			fmt.Fprintf(w, "%s: %s\n", e.Kind, e.Limit)
		}
		if e.Driver == "" {
			continue
		}
		for _, j := range e.JobRings {
			state := "driver " + j.Driver
			if j.Driver == "" {
				state = "not in use: " + j.Reason
			}
			fmt.Fprintf(w, "%s: job ring %s: %s\n", e.Kind, path.Base(j.Node), state)
		}
	}
}

// prefixed returns prefix followed by text, or "" if text is empty.
func prefixed(prefix, text string) string {
	if text == "" {
		return ""
	}
	return prefix + text
}

func printReport(w io.Writer, r *platform.Report) {
	fmt.Fprintf(w, "kernel: Linux %s, %s\n", r.Kernel, r.Machine)
	for _, f := range []struct {
		name string
		platform.Feature
	}{{"io_uring", r.IOURing}, {"kernel TLS", r.KernelTLS}} {
		if f.Usable {
			fmt.Fprintf(w, "%s: yes\n", f.name)
		} else {
			fmt.Fprintf(w, "%s: no: %s; %s\n", f.name, f.Reason, f.Remedy)
		}
	}
	for _, c := range r.Ciphers {
		switch {
		case c.Verified:
			fmt.Fprintf(w, "kernel TLS, %s: yes, tested\n", c.Name)
		case c.Usable:
			fmt.Fprintf(w, "kernel TLS, %s: yes\n", c.Name)
		case r.KernelTLS.Usable: // otherwise the reason is printed above
			fmt.Fprintf(w, "kernel TLS, %s: no: %s; %s\n", c.Name, c.Reason, c.Remedy)
		}
	}
	for _, a := range slices.Concat(r.GCM, r.CTR, r.ChaCha20) {
		how := "synchronous"
		switch {
		case a.Waits():
			how = "asynchronous"
		case a.Inline:
			how = "synchronous in system calls"
		}
		if a.Hardware {
			how = "hardware, " + how
		}
		fmt.Fprintf(w, "%s: %s, priority %d, %s, module %s, self-test %s\n", a.Name, a.Driver, a.Priority, how, a.Module, a.SelfTest)
	}
	if !r.Netlink.Usable && len(r.GCM)+len(r.ChaCha20) > 0 {
		fmt.Fprintf(w, "hardware drivers: not known: %s; %s\n", r.Netlink.Reason, r.Netlink.Remedy)
	}
	for _, a := range r.AFALG {
		fmt.Fprintf(w, "AF_ALG: %s\n", a.String())
	}
	for _, s := range r.Speeds {
		where := "TLS in user space"
		if s.Kernel {
			where = "kernel TLS"
		}
		fmt.Fprintf(w, "measured: %s, %s: %.1f MiB/s, %.2f s of processor time per GiB\n", where, s.Cipher, s.MiBPerSecond, s.SecondsPerGiB)
	}
	if r.AESInstructions {
		fmt.Fprintln(w, "AES instructions: yes")
	} else {
		fmt.Fprintln(w, "AES instructions: no")
	}
}
