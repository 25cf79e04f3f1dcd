package board

import (
	"strings"
	"testing"
)

func TestLogRulesMatchComplaintsOnly(t *testing.T) {
	tests := []struct {
		name, line, kind string
	}{
		{"WARN_ON", "[   12.345678] WARNING: CPU: 0 PID: 512 at net/core/stream.c:211 sk_stream_kill_queues+0xc0/0x110", "warning"},
		{"WARN_ON of newer kernels", "[   12.345678] WARNING: net/core/stream.c:211 at sk_stream_kill_queues+0xc0/0x110, CPU#0: kworker/0:1/11", "warning"},
		{"with a level and a thread", "<4>[   12.345678][  T512] WARNING: CPU: 1 PID: 512 at kernel/x.c:1 f+0x0/0x10", "warning"},
		{"lockdep", "[    5.000000] WARNING: possible circular locking dependency detected", "warning"},
		{"lockdep's RCU", "[    5.000000] WARNING: suspicious RCU usage", "warning"},
		{"a null pointer", "[    9.000001] BUG: kernel NULL pointer dereference, address: 0000000000000008", "bug"},
		{"BUG_ON", "[    9.000001] kernel BUG at net/tls/tls_sw.c:2345!", "bug"},
		{"KASAN", "[    9.000001] BUG: KASAN: slab-use-after-free in tls_sw_splice_eof+0x10/0x20", "bug"},
		{"KFENCE", "[    9.000001] BUG: KFENCE: out-of-bounds read in f", "bug"},
		{"UBSAN", "[    9.000001] UBSAN: array-index-out-of-bounds in net/x.c:5:6", "sanitizer"},
		{"sleeping while atomic", "[    9.000001] BUG: sleeping function called from invalid context at mm/x.c:5", "bug"},
		{"oops on x86", "[    9.000001] Oops: Oops: 0000 [#1] PREEMPT SMP NOPTI", "oops"},
		{"oops on ARM", "[    9.000001] Internal error: Oops: 5 [#1] SMP ARM", "oops"},
		{"cut mark on ARM", "[    9.000001] 8<--- cut here ---", "oops"},
		{"a paging request", "[    9.000001] Unable to handle kernel paging request at virtual address 6b6b6b6b when read", "oops"},
		{"a trace on x86", "[    9.000001] Call Trace:", "trace"},
		{"a trace on ARM", "[    9.000001] Call trace: ", "trace"},
		{"a panic", "[    9.000001] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000200", "panic"},
		{"soft lockup", "[   40.000001] watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [kworker/0:1:11]", "stall"},
		{"RCU stall", "[   40.000001] rcu: INFO: rcu_preempt self-detected stall on CPU", "stall"},
		{"RCU stall on tasks", "[   40.000001] rcu: INFO: rcu_sched detected stalls on CPUs/tasks:", "stall"},
		{"RCU starved", "[   40.000001] rcu: rcu_sched kthread starved for 5250 jiffies!", "stall"},
		{"hung task", "[  242.000001] INFO: task iou-wrk-512:513 blocked for more than 120 seconds.", "hung task"},
		{"refcount", "[   11.000001] refcount_t: underflow; use-after-free.", "reference count"},
		{"leaked lock", "[   11.000001] Leaked POSIX lock on dev=0x0:0x2", "leak"},
		{"page pool", "[   71.000001] page_pool_release_retry() stalled pool shutdown: id 3, 1 inflight 60 sec", "leak"},
		{"OOM", "[   11.000001] uringhttpd invoked oom-killer: gfp_mask=0x140cca(GFP_HIGHUSER_MOVABLE), order=0", "memory"},
		{"allocation", "[   11.000001] kworker/0:1: page allocation failure: order:3, mode:0x40820(GFP_ATOMIC|__GFP_COMP)", "memory"},
		{"TCP memory", "[   11.000001] TCP: out of memory -- consider tuning tcp_mem", "memory"},
		{"segfault", "[   11.000001] uringhttpd[512]: segfault at 0 ip 0000000000401000 sp 00007ffd error 4", "program crashed"},
		{"cipher self-test", "[   11.000001] alg: aead: cryptd(gcm_base(ctr(aes-generic),ghash-generic)) encryption test failed (wrong result) on test vector 2", "self-test"},
		{"message of the agent", "agent: load module /lib/modules/tls.ko: invalid argument", "agent"},
		{"panic of Go", "panic: runtime error: index out of range [1] with length 1", "agent"},

		{"Spectre mitigation advice", "[    0.300000] Spectre V2 : WARNING: Unprivileged eBPF is enabled with eIBRS on, data leaks possible via Spectre v2 BHB attacks!", ""},
		{"a name with bug in it", "[    0.300000] debugfs: Directory 'regmap' with parent '/' already present!", ""},
		{"no console yet", "[    0.300000] Warning: unable to open an initial console.", ""},
		{"RCU start message", "[    0.300000] rcu: Hierarchical RCU implementation.", ""},
		{"RCU tasks", "[    0.300000] RCU Tasks Rude: Setting shift to 0 and lim to 1 rcu_task_cb_adjust=1.", ""},
		{"an init message", "[    3.657776] Run /init as init process", ""},
		{"AppArmor", "[    2.000000] AppArmor: AppArmor sha256 policy hashing enabled", ""},
		{"SYN cookies", "[   30.000000] TCP: request_sock_TCP: Possible SYN flooding on port [::]:8443. Sending cookies.", ""},
		{"hung-task setting", "[    0.300000] Kernel command line: console=ttyS0 panic=-1 loglevel=7", ""},
		{"lockdep start message", "[    0.300000] Lock dependency validator: Copyright (c) 2006 Red Hat, Inc., Ingo Molnar", ""},
		{"FIPS self-tests", "[    0.300000] alg: self-tests disabled", ""},
		{"nothing", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if kind := judge(tt.line); kind != tt.kind {
				t.Errorf("got %q, want %q", kind, tt.kind)
			}
		})
	}
}

func TestScanKernelLogReportsEachComplaintOnce(t *testing.T) {
	if found := scanKernelLog(""); len(found) != 0 {
		t.Errorf("an empty log: %+v", found)
	}
	healthy := strings.Repeat("[    1.000000] all is well\r\n", 100)
	if found := scanKernelLog(healthy); len(found) != 0 {
		t.Errorf("a healthy log: %+v", found)
	}
	const warning = "[    2.000000] WARNING: CPU: 0 PID: 1 at x.c:1 f+0x0/0x10\r\n[    2.000001] Call Trace:\r\n"
	found := scanKernelLog(healthy + warning + healthy + warning)
	if len(found) != 2 {
		t.Fatalf("got %d complaints, want 2, their traces included: %+v", len(found), found)
	}
	if want := "Call Trace:"; !strings.Contains(found[0].excerpt, want) {
		t.Errorf("the excerpt lacks %q: %s", want, found[0].excerpt)
	}
	if err := complaintsError(found); !strings.Contains(err.Error(), "complained 2 times") {
		t.Errorf("the error: %v", err)
	}
}
