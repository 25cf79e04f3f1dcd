package board

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// A complaint is a line of a kernel log that a healthy kernel does not write,
// with the lines after it.
type complaint struct {
	kind    string
	excerpt string
}

// A logRule recognises complaints. The expression is matched against the text after the
// timestamp.
type logRule struct {
	kind string
	expr *regexp.Regexp
}

// logRules list the kernel's messages about problems. Where the kernel has a fixed wording,
// they match from the start of the message: words such as "bug" or "warning" also occur in
// names and in advice.
var logRules = []logRule{
	{"panic", regexp.MustCompile(`^Kernel panic`)},
	{"bug", regexp.MustCompile(`^(kernel )?BUG[: ]|^kernel BUG at`)},
	{"warning", regexp.MustCompile(`^WARNING: `)},
	{"lockdep", regexp.MustCompile(`(possible (circular|recursive) locking|inconsistent lock state|suspicious RCU usage|bad unlock balance)`)},
	{"oops", regexp.MustCompile(`^(Internal error: )?Oops[ :\-]|^Internal error|^Unable to handle kernel|^general protection fault|^(8<--- cut here ---)`)},
	{"trace", regexp.MustCompile(`^Call [Tt]race:`)},
	{"stall", regexp.MustCompile(`^(watchdog: )?BUG: (soft|workqueue) lockup|^rcu: INFO: .*(stall|detected)|rcu_(sched|preempt).*(stall|kthread starved)|^Watchdog detected hard LOCKUP`)},
	{"hung task", regexp.MustCompile(`^INFO: task .* blocked for more than`)},
	{"reference count", regexp.MustCompile(`^refcount_t: |^percpu ref .* (<=|underflow)`)},
	{"sanitizer", regexp.MustCompile(`(KASAN|KFENCE|KCSAN|UBSAN|KMSAN): `)},
	{"leak", regexp.MustCompile(`\b[Ll]eaked\b|^kmemleak: .* new suspected|^VFS: Busy inodes|^unregister_netdevice: waiting|page_pool_release_retry\(\) stalled`)},
	{"list corruption", regexp.MustCompile(`^(list_add|list_del) corruption|^slab error|^page dumped because`)},
	{"memory", regexp.MustCompile(`invoked oom-killer|^Out of memory|page allocation failure|^TCP: out of memory|^Memory cgroup out of memory`)},
	{"program crashed", regexp.MustCompile(`segfault at |^traps: .* trap |unhandled (page|prefetch|translation).* fault|^potentially unexpected fatal signal`)},
	{"self-test", regexp.MustCompile(`^alg: .*(fail|mismatch|unexpectedly)`)},
	{"agent", regexp.MustCompile(`^agent: |^panic: |^fatal error: `)},
}

// benign are lines of healthy kernels that match the rules above.
var benign = regexp.MustCompile(`^Spectre V2 : |^TSX|^RETBleed: |^MDS |page allocation failure.*__GFP_NOWARN`)

// stamp matches printk's timestamp before a message, with the optional level.
var stamp = regexp.MustCompile(`^(<\d+>)?\[ *\d+\.\d+\](\[ *[CT]\d+\])? ?`)

// excerptLines is the number of lines in an excerpt after the complaint's line.
const excerptLines = 25

// scanKernelLog returns the complaints in a kernel log. Of overlapping complaints only the
// first is reported, with its excerpt.
func scanKernelLog(log string) []complaint {
	lines := strings.Split(strings.ReplaceAll(log, "\r", ""), "\n")
	var found []complaint
	for i := 0; i < len(lines); i++ {
		kind := judge(lines[i])
		if kind == "" {
			continue
		}
		end := min(len(lines), i+1+excerptLines)
		found = append(found, complaint{kind: kind, excerpt: strings.TrimRight(strings.Join(lines[i:end], "\n"), "\n")})
		i = end - 1
	}
	return found
}

// judge returns the kind of complaint that a line is, or "".
func judge(line string) string {
	text := stamp.ReplaceAllString(line, "")
	if benign.MatchString(text) {
		return ""
	}
	for _, r := range logRules {
		if r.expr.MatchString(text) {
			return r.kind
		}
	}
	return ""
}

func complaintsError(found []complaint) error {
	errs := []error{fmt.Errorf("board: the kernel complained %d times", len(found))}
	for _, c := range found {
		errs = append(errs, fmt.Errorf("%s:\n%s", c.kind, c.excerpt))
	}
	return errors.Join(errs...)
}
