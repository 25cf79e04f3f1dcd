package platform

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"uringhttpd/ktls"
)

// A version is a kernel version: major, minor and stable release. The last is -1 for a release
// candidate (-rc) of the series.
type version [3]int

func (v version) String() string {
	if v[2] < 0 {
		return fmt.Sprintf("%d.%d-rc", v[0], v[1])
	}
	if v[2] == 0 {
		return fmt.Sprintf("%d.%d", v[0], v[1])
	}
	return fmt.Sprintf("%d.%d.%d", v[0], v[1], v[2])
}

func (v version) before(w version) bool { return slices.Compare(v[:], w[:]) < 0 }

// A defect is a kernel defect that concerns asynchronous drivers.
type defect struct {
	cve      string // its name in KernelFixes; "" if it has no CVE
	text     string
	repaired []version // first repaired version of each series; the last is mainline's, and all later series have the repair
	sends    bool      // the outcome of Report.Sends decides, if it was tested
	corrupts bool      // it corrupts the kernel's memory, even in a test
}

// defects are the defects that make kernel TLS with an asynchronous driver unsafe for this program.
var defects = []defect{
	// Mainline 8590541473188741055d27b955db0777569438e3, "net: tls: handle backlogging of crypto
	// requests": tls_do_encryption treats EBUSY, which means that the request was put on the driver's
	// backlog, as a failure, and frees a request that the driver still uses. In the stable kernels,
	// 13eca403876b was pushed to linux-6.6.y and ab6397f072e5 to linux-6.7.y on 2024-02-23, the day of
	// 6.6.18 and 6.7.6, and cd1bbca03f3c precedes "Linux 6.1.84" in linux-6.1.y.
	{
		cve:      "CVE-2024-26584",
		text:     "kernel TLS frees memory that an asynchronous driver with a full queue still uses",
		repaired: []version{{6, 1, 84}, {6, 6, 18}, {6, 7, 6}, {6, 8, 0}},
		corrupts: true,
	},
	// Mainline a9b8b18364fffce4c451e6f6fd218fa4ab646705, "net/tls: fix use-after-free in -EBUSY error
	// path of tls_do_encryption": if a driver's queue was full, and the client has reset the
	// connection or a request has failed meanwhile, encrypt_pending is decremented twice. The close
	// then waits forever, or frees records that the driver still uses. The repair of CVE-2024-26584
	// introduced this defect. The repair is in the commit lists of 6.12.82 and 6.18.23 and in the
	// announcement of 6.6.135-rc1; 6.1.169 and 6.19.13 come from the OSV database.
	{
		cve:      "CVE-2026-31533",
		text:     "a connection reset makes kernel TLS miscount the requests of an asynchronous driver with a full queue",
		repaired: []version{{6, 1, 169}, {6, 6, 135}, {6, 12, 82}, {6, 18, 23}, {6, 19, 13}, {7, 0, 0}},
	},
	// Mainline a9be202269580ca611c6cebac90eaf1795497800, "io_uring: treat -EAGAIN for
	// REQ_F_NOWAIT as final for io-wq": a send with IOSQE_ASYNC on a full socket is retried
	// endlessly, and does not complete with EAGAIN. The repair is in the announcement of 6.1.42;
	// 6.4.7 was released on the same day.
	{
		text:     "io_uring never completes a non-blocking send of a worker thread if the socket's buffer is full",
		repaired: []version{{6, 1, 42}, {6, 4, 7}, {6, 5, 0}},
		sends:    true,
	},
}

// KernelFixes are the CVEs of the defects that are repaired in this kernel although its version
// does not show it. Valid names are those of KnownDefects.
type KernelFixes []string

// KnownDefects returns the CVEs of all defects that KernelFixes may name.
func KnownDefects() KernelFixes {
	var all KernelFixes
	for _, d := range defects {
		if d.cve != "" {
			all = append(all, d.cve)
		}
	}
	return all
}

// has reports whether f contains the fix of d.
func (f KernelFixes) has(d defect) bool { return d.cve != "" && slices.Contains(f, d.cve) }

// in reports whether a kernel of version v has the defect.
func (d defect) in(v version) bool {
	for _, r := range d.repaired {
		if r[0] == v[0] && r[1] == v[1] {
			return v.before(r)
		}
	}
	return v.before(d.repaired[len(d.repaired)-1])
}

func (d defect) String() string {
	var all []string
	for _, v := range d.repaired {
		all = append(all, v.String())
	}
	text := d.text
	if d.cve != "" {
		text += " (" + d.cve + ")"
	}
	return text + ", fixed in " + strings.Join(all, ", ")
}

// parseVersion parses a version as uname -r prints it, such as 6.6.3-gea3b1ed, 6.1.22+g1234, or
// 6.8-rc3. It reports whether release is a version.
func parseVersion(release string) (v version, ok bool) {
	end := strings.IndexFunc(release, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
	rest := ""
	if end >= 0 {
		release, rest = release[:end], release[end:]
	}
	parts := strings.Split(strings.TrimSuffix(release, "."), ".")
	if len(parts) < 2 {
		return version{}, false
	}
	for i, part := range parts[:min(len(parts), len(v))] {
		n, err := strconv.Atoi(part)
		if err != nil {
			return version{}, false
		}
		v[i] = n
	}
	if v[2] == 0 && strings.HasPrefix(rest, "-rc") {
		v[2] = -1
	}
	return v, true
}

// kernelVersion returns the version of the kernel's source. Debian's release names only the
// series, as in 6.1.0-18-amd64; its build, as uname -v prints it, names the version:
// #1 SMP PREEMPT_DYNAMIC Debian 6.1.76-1 (2024-02-01).
func kernelVersion(release, build string) (version, bool) {
	v, ok := parseVersion(release)
	if !ok {
		return v, false
	}
	_, after, found := strings.Cut(build, "Debian ")
	if w, ok := parseVersion(after); found && ok && w[0] == v[0] && w[1] == v[1] {
		return w, true
	}
	return v, true
}

// Restricted returns r if its kernel has no known defect with asynchronous drivers, or selects no
// such driver. Otherwise it returns a copy in which kernel TLS is not usable with the ciphers whose
// selected driver is asynchronous, or is not visible and so may be. For the defect of sends, the
// outcome of Sends decides if it was tested; for the other defects the kernel version decides,
// since no test can show their absence without the risk of memory corruption.
func (r *Report) Restricted() *Report {
	v, ok := kernelVersion(r.Kernel, r.Build)
	var known, cves []string
	for _, d := range defects {
		switch {
		case r.fixes.has(d):
		case d.sends && r.Sends != SendsUntested:
			if r.Sends == SendsUnanswered {
				known = append(known, d.String()+" (this kernel was tested)")
			}
		case ok && d.in(v):
			known = append(known, d.String())
			cves = append(cves, d.cve)
		}
	}
	if known == nil || !slices.ContainsFunc(r.Ciphers, r.mayBeAsync) {
		return r
	}
	s := *r
	s.Ciphers = slices.Clone(r.Ciphers)
	usable := false
	for i := range s.Ciphers {
		if c := &s.Ciphers[i]; r.mayBeAsync(*c) {
			c.Feature = r.defective(c.Suite, known, cves)
			c.Defective, c.Verified = true, false
		}
		usable = usable || s.Ciphers[i].Usable
	}
	if !usable {
		i := slices.IndexFunc(s.Ciphers, func(c Cipher) bool { return c.Defective })
		s.KernelTLS = s.Ciphers[i].Feature
	}
	return &s
}

// mayBeAsync reports whether c is usable and its driver is asynchronous or not visible.
func (r *Report) mayBeAsync(c Cipher) bool {
	a, found := r.Selected(c.Suite)
	return c.Usable && (!found || a.Waits())
}

// defective explains why a cipher that the kernel accepts is not used. cves are those of the
// defects that were derived from the kernel version alone.
func (r *Report) defective(suite uint16, known, cves []string) Feature {
	kernel := r.Kernel
	if v, ok := kernelVersion(r.Kernel, r.Build); ok {
		kernel = v.String()
	}
	driver := "a driver that /proc/crypto does not show"
	remedy := "use a later kernel"
	if a, found := r.Selected(suite); found {
		driver = a.Driver + ", which is asynchronous"
		if a.Name == ktls.AlgorithmGCM && a.Hardware {
			remedy += ", or set crypto.prefer: cpu"
		}
	}
	cves = slices.DeleteFunc(slices.Clone(cves), func(cve string) bool { return cve == "" })
	if len(cves) > 0 {
		remedy += fmt.Sprintf("; if your vendor has fixed this kernel without a change of its version, set crypto.kernel_fixes: [%s]", strings.Join(cves, ", "))
	}
	return Feature{
		Reason: fmt.Sprintf("the kernel encrypts with %s, and Linux %s has a defect with such drivers: %s", driver, kernel, strings.Join(known, "; ")),
		Remedy: remedy,
	}
}

// untestable returns the reason why kernel TLS must not even be tested with the driver selected
// for a cipher suite; "" if it may be tested.
func (r *Report) untestable(suite uint16) string {
	v, ok := kernelVersion(r.Kernel, r.Build)
	a, found := r.Selected(suite)
	if !ok || found && !a.Waits() {
		return ""
	}
	driver := "the driver, which /proc/crypto does not show, may be asynchronous"
	if found {
		driver = a.Driver + " is asynchronous"
	}
	for _, d := range defects {
		if d.corrupts && d.in(v) && !r.fixes.has(d) {
			return fmt.Sprintf("%s, and Linux %v has a defect with such drivers that corrupts memory: %s", driver, v, d)
		}
	}
	return ""
}
