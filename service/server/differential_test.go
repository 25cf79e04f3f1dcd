package server

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"uringhttpd/service/http1"
)

var (
	diffSeeds = flag.Int("diff.seeds", 4000, "how many generated requests TestDifferential sends")
	diffFirst = flag.Uint64("diff.first", 1, "the seed of the first of them")
)

// A difference is one way in which this server's response may differ from
// net/http's. apply compares both responses to the input say. If they differ in this way
// alone, it changes want into the response of this server, and returns true.
type difference struct {
	name, why string
	apply     func(say []byte, want, got outcome) (outcome, bool)
}

// otherRefusal is a difference in the response to the request at which got ends: this
// server refuses it with status, if meant reports true.
func otherRefusal(status int, meant func(head string) bool) func([]byte, outcome, outcome) (outcome, bool) {
	return func(say []byte, want, got outcome) (outcome, bool) {
		last := len(got) - 1
		list := heads(say)
		if last < 0 || !got[last].refusal || got[last].status != status || last >= len(list) || last > len(want) ||
			last < len(want) && want[last].refusal && want[last].status == status || !meant(list[last]) {
			return want, false
		}
		return append(want[:last:last], got[last]), true
	}
}

// endsHere is a difference in the persistence of the connection: this server ends it
// after the last request of got, if meant reports true.
func endsHere(meant func(head string, want reply) bool) func([]byte, outcome, outcome) (outcome, bool) {
	return func(say []byte, want, got outcome) (outcome, bool) {
		last := len(got) - 1
		list := heads(say)
		if last < 0 || last >= len(list) || len(want) <= last || got[last].refusal || got[last].connection != "close" ||
			len(want) == last+1 && want[last].connection == "close" || !meant(list[last], want[last]) {
			return want, false
		}
		want = slices.Clone(want[:last+1])
		want[last].connection = "close"
		return want, true
	}
}

func requestLine(head string) string {
	line, _, _ := strings.Cut(head, "\n")
	return strings.TrimSuffix(line, "\r")
}

func matches(pattern string) func(head string) bool { return regexp.MustCompile(pattern).MatchString }

// differences are all permitted differences. Each must occur in TestDifferential.
var differences = []difference{
	{
		"empty lines first",
		"RFC 9112 section 2.2 has a server ignore them; net/http does only after a POST",
		nil, // see compare
	},
	{
		"a connection option inside of something else",
		"RFC 9110 section 7.6.1: options are tokens between commas; net/http finds the word next to any sign",
		nil, // see compare
	},
	{
		"the response's version",
		"RFC 9110 section 6.2: it is the server's, 1.1, not the request's",
		func(_ []byte, want, got outcome) (outcome, bool) {
			changed := false
			want = slices.Clone(want)
			for i := range min(len(want), len(got)) {
				if want[i].proto == "HTTP/1.0" && got[i].proto == "HTTP/1.1" {
					want[i].proto, changed = "HTTP/1.1", true
				}
			}
			return want, changed
		},
	},
	{
		"close is said to HTTP/1.0 too",
		"RFC 9112 section 9.6 has the last response say so; net/http leaves it out where it is the default",
		func(say []byte, want, got outcome) (outcome, bool) {
			last := len(got) - 1
			list := heads(say)
			if last < 0 || last != len(want)-1 || last >= len(list) || want[last].connection != "" || got[last].connection != "close" ||
				!strings.HasSuffix(requestLine(list[last]), " HTTP/1.0") {
				return want, false
			}
			want = slices.Clone(want)
			want[last].connection = "close"
			return want, true
		},
	},
	{
		"a body ends the connection",
		"RFC 9112 section 9.3 lets a server that does not read it close; net/http reads and goes on",
		endsHere(func(_ string, want reply) bool { return want.announced }),
	},
	{
		"a Transfer-Encoding of HTTP/1.0 ends the connection",
		"RFC 9112 section 6.1: the framing is faulty; net/http forgets the field",
		endsHere(func(head string, _ reply) bool {
			return strings.HasSuffix(requestLine(head), " HTTP/1.0") && fieldValues(head, "Transfer-Encoding") != nil
		}),
	},
	{
		"close and keep-alive by HTTP/1.0",
		"RFC 9112 section 9.3: close counts; net/http goes on",
		endsHere(func(head string, _ reply) bool {
			return strings.HasSuffix(requestLine(head), " HTTP/1.0") && fieldHas(head, "Connection", "close") && fieldHas(head, "Connection", "keep-alive")
		}),
	},
	{
		"folded fields",
		"RFC 9112 section 5.2 has a server refuse them or join them; net/http joins",
		otherRefusal(http.StatusBadRequest, matches(`\n[ \t]`)),
	},
	{
		"tunnels",
		"RFC 9110 section 9.3.6: success would mean a tunnel, so handlers are not asked; and 400 has its place where there is no target",
		func(say []byte, want, got outcome) (outcome, bool) {
			if want, ok := otherRefusal(http.StatusBadRequest, matches(`^CONNECT  HTTP/1\.\d\r?\n`))(say, want, got); ok {
				return want, true
			}
			return otherRefusal(http.StatusNotImplemented, matches(`^CONNECT [^ ]+ HTTP/1\.\d\r?\n`))(say, want, got)
		},
	},
	{
		"asterisk",
		"RFC 9112 section 3.2.4: only with OPTIONS; net/http asks the handler",
		otherRefusal(http.StatusBadRequest, matches(`^[^ ]+ \* `)),
	},
	{
		"targets that are no http URL",
		"RFC 9110 sections 4.2.1 and 4.2.4: a host, and no user information; other schemes are not ours",
		otherRefusal(http.StatusBadRequest, func(head string) bool {
			_, rest, _ := strings.Cut(requestLine(head), " ")
			return regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:`).MatchString(rest) && !regexp.MustCompile(`(?i)^https?://[a-z0-9.-]+(:\d*)?([/?]|$)`).MatchString(strings.Split(rest, " ")[0])
		}),
	},
	{
		"hosts that are none",
		"RFC 9112 section 3.2: an invalid Host is refused; net/http looks at its characters only",
		otherRefusal(http.StatusBadRequest, func(head string) bool {
			return slices.ContainsFunc(fieldValues(head, "Host"), func(v string) bool {
				return !regexp.MustCompile(`^([^:\[\]%]|%[0-9A-Fa-f]{2})*(:\d*)?$|^\[[^\[\]%]+\](:\d*)?$`).MatchString(v)
			})
		}),
	},
	{
		"one expectation among others",
		"RFC 9110 section 10.1.1: any member but 100-continue may be refused; net/http is content to find 100-continue",
		otherRefusal(http.StatusExpectationFailed, func(head string) bool {
			return len(fieldValues(head, "Expect")) > 1 || strings.Contains(strings.ToLower(fmt.Sprint(fieldValues(head, "Expect"))), "100-continue")
		}),
	},
	{
		"the preface of HTTP/2",
		"RFC 9110 section 15.6.6: a major version that is not spoken; net/http asks the handler, which may take the connection over",
		otherRefusal(http.StatusHTTPVersionNotSupported, matches(`^PRI \* HTTP/2\.0\r?\n`)),
	},
	{
		"a wrong version before wrong fields",
		"RFC 9112 section 3: the request line comes first, and says how to read the rest",
		otherRefusal(http.StatusHTTPVersionNotSupported, matches(`^[^ ]+ [^ ]* HTTP/[02-9]\.\d\r?(\n|$)`)),
	},
	{
		"long request lines",
		"RFC 9112 section 3 asks for 8000 bytes and has 414 for more; net/http takes a megabyte",
		otherRefusal(http.StatusRequestURITooLong, func(head string) bool { return len(requestLine(head)) > http1.MaxLine }),
	},
	{
		"long methods",
		"RFC 9112 section 3 has 501 for them; net/http takes a megabyte",
		otherRefusal(http.StatusNotImplemented, func(head string) bool {
			method, _, _ := strings.Cut(head, " ")
			return len(method) > http1.MaxLine
		}),
	},
	{
		"large heads",
		"RFC 6585 section 5; net/http takes a megabyte, and any number of fields",
		otherRefusal(http.StatusRequestHeaderFieldsTooLarge, func(head string) bool {
			return len(head) > http1.MaxHead || strings.Count(head, "\n") > http1.MaxFields+2
		}),
	},
	{
		"transfer codings without an end",
		"RFC 9112 section 6.3 has 400 where chunked is not the last; net/http says 501 to all that it does not know",
		otherRefusal(http.StatusBadRequest, func(head string) bool {
			list := strings.Split(strings.Join(fieldValues(head, "Transfer-Encoding"), ","), ",")
			return fieldValues(head, "Transfer-Encoding") != nil && (!strings.EqualFold(strings.Trim(list[len(list)-1], " \t"), "chunked") || len(list) > 1)
		}),
	},
	{
		"unknown transfer codings, and more",
		"RFC 9112 section 6.1: 501; net/http detects another error first, and answers 400",
		otherRefusal(http.StatusNotImplemented, func(head string) bool {
			return fieldHas(head, "Transfer-Encoding", "chunked") && !strings.EqualFold(strings.Join(fieldValues(head, "Transfer-Encoding"), ","), "chunked")
		}),
	},
	{
		"a few bytes of a request, and the end",
		"RFC 9112 section 8: an incomplete request may be answered; net/http is silent to less than four bytes",
		func(say []byte, want, got outcome) (outcome, bool) {
			last := len(got) - 1
			list := heads(say)
			if last < 1 || len(want) != last || last != len(list)-1 || len(list[last]) >= 4 || !got[last].refusal || got[last].status != http.StatusBadRequest {
				return want, false
			}
			return append(want[:last:last], got[last]), true
		},
	},
}

// refusalsAlike removes the text of a refusal, which is never compared. A
// request that is refused ends the connection on both servers.
func refusalsAlike(o outcome) outcome {
	o = slices.Clone(o)
	for i := range o {
		if o[i].refusal {
			o[i] = reply{status: o[i].status, refusal: true, proto: "HTTP/1.1", connection: o[i].connection}
		}
	}
	return o
}

// compared is a comparison of this server with net/http's.
type compared struct {
	oracle *oracle
	seen   map[string]int // of the differences, how often
	status map[int]int    // of first replies
}

// compare reports an answer that differs from net/http's in another way than
// those of the table.
func (c *compared) compare(t testing.TB, say []byte, stream []byte) error {
	got, err := readOutcome(stream)
	if err != nil {
		return err
	}
	got = refusalsAlike(got)
	want := refusalsAlike(c.oracle.ask(t, say))
	seen := map[string]bool{}
	// For the first two differences, net/http gets an input without the difference.
	plain := strings.Join(heads(say), "")
	if len(plain) < len(say) {
		if other := refusalsAlike(c.oracle.ask(t, []byte(plain))); fmt.Sprint(other) != fmt.Sprint(want) {
			want, seen[differences[0].name] = other, true
		}
	}
	if defused := falseOptions(plain); defused != plain {
		other := refusalsAlike(c.oracle.ask(t, []byte(defused)))
		for i := range other {
			other[i].body = regexp.MustCompile(`(?i)c[1!]ose|k[3#]ep-alive`).ReplaceAllStringFunc(other[i].body, strings.NewReplacer("1", "l", "!", "L", "3", "e", "#", "E").Replace)
		}
		if len(other) != len(want) || fmt.Sprint(other) != fmt.Sprint(want) {
			want, seen[differences[1].name] = other, true
		}
	}
	for range differences { // one may show only when another is out of the way
		for _, d := range differences[2:] {
			if fmt.Sprint(want) == fmt.Sprint(got) {
				break
			}
			var applied bool
			if want, applied = d.apply(say, want, got); applied {
				seen[d.name] = true
			}
		}
	}
	if fmt.Sprint(want) != fmt.Sprint(got) {
		return fmt.Errorf("this server:\n%vnet/http:\n%v", got, want)
	}
	for name := range seen {
		c.seen[name]++
	}
	if len(got) > 0 {
		c.status[got[0].status]++
	}
	return nil
}

// falseOptions corrupts close and keep-alive where they stand in a Connection field without being
// one of its options.
func falseOptions(say string) string {
	return regexp.MustCompile(`(?i)\nConnection:[^\n]*`).ReplaceAllStringFunc(say, func(line string) string {
		if !fieldHas(line, "Connection", "close") {
			line = regexp.MustCompile(`(?i)close`).ReplaceAllStringFunc(line, strings.NewReplacer("l", "1", "L", "!").Replace)
		}
		if !fieldHas(line, "Connection", "keep-alive") {
			line = regexp.MustCompile(`(?i)keep-alive`).ReplaceAllStringFunc(line, func(word string) string {
				return word[:1] + strings.NewReplacer("e", "3", "E", "#").Replace(word[1:2]) + word[2:]
			})
		}
		return line
	})
}

// oldFiles returns the compared handler for a directory of files that were not
// changed recently.
func oldFiles(t testing.TB) http.Handler {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"f": "0123456789", "empty": "", "dir/index.html": "<p>"} {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	h := filesBelow(root)
	for _, path := range []string{"/f", "/empty", "/dir/"} {
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, httptest.NewRequest("GET", path, nil)); w.Code != http.StatusOK {
			t.Fatalf("%s: %d", path, w.Code)
		}
	}
	return comparedHandler(h)
}

// probe follows each request. It is answered if the connection persists.
const probe = "GET /probe HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n"

// hostile are requests written by hand. Each is followed by the probe.
var hostile = []string{
	"GET /echo HTTP/1.1\r\nHost: b\r\n\r\n",
	"GET /echo?a=b%20c HTTP/1.1\nHost: b\n\n",
	"HEAD /echo HTTP/1.1\r\nHost: b\r\n\r\n",
	"OPTIONS /f HTTP/1.1\r\nHost: b\r\n\r\n",
	"OPTIONS * HTTP/1.1\r\nHost: b\r\n\r\n",
	"OPTIONS * HTTP/1.0\r\n\r\n",
	"OPTIONS /echo* HTTP/1.1\r\nHost: b\r\n\r\n",
	"GET * HTTP/1.1\r\nHost: b\r\n\r\n",
	"TRACE /echo HTTP/1.1\r\nHost: b\r\n\r\n",
	"TRACE /f HTTP/1.1\r\nHost: b\r\n\r\n",
	"BREW /f HTTP/1.1\r\nHost: b\r\n\r\n",
	"get /f HTTP/1.1\r\nHost: b\r\n\r\n",
	"CONNECT b:443 HTTP/1.1\r\nHost: b:443\r\n\r\n",
	"CONNECT /echo HTTP/1.1\r\nHost: b\r\n\r\n",
	"CONNECT b:443 HTTP/1.1\r\n\r\n",
	"CONNECT b:http HTTP/1.1\r\nHost: b\r\n\r\n",
	// Versions.
	"GET /echo HTTP/1.0\r\n\r\n",
	"GET /echo HTTP/1.0\r\nHost: b\r\nConnection: keep-alive\r\n\r\n",
	"GET /echo HTTP/1.0\r\nConnection: Keep-Alive, close\r\n\r\n",
	"HEAD /f HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
	"GET /echo HTTP/1.2\r\nHost: b\r\n\r\n",
	"GET /echo HTTP/1.9\r\n\r\n",
	"GET /echo HTTP/1.10\r\nHost: b\r\n\r\n",
	"GET /echo HTTP/01.1\r\nHost: b\r\n\r\n",
	"GET /echo HTTP/2.0\r\nHost: b\r\n\r\n",
	"GET /echo HTTP/2.0\r\nHost : b\r\n\r\n",
	"GET /echo HTTP/0.9\r\n\r\n",
	"GET /echo HTTP/3.1\r\n\r\n",
	"GET /echo http/1.1\r\nHost: b\r\n\r\n",
	"GET /echo HTTP/1.1 \r\nHost: b\r\n\r\n",
	"GET /echo HTTP/1.1\r\r\nHost: b\r\n\r\n",
	"GET /echo HTTPS/1.1\r\nHost: b\r\n\r\n",
	"GET /echo\r\n\r\n",
	"GET /echo\r\n",
	"GET\r\n\r\n",
	"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	// Request lines.
	"GET  /echo HTTP/1.1\r\nHost: b\r\n\r\n",
	" GET /echo HTTP/1.1\r\nHost: b\r\n\r\n",
	"GET\t/echo HTTP/1.1\r\nHost: b\r\n\r\n",
	"GET /e cho HTTP/1.1\r\nHost: b\r\n\r\n",
	"GET /e\x00cho HTTP/1.1\r\nHost: b\r\n\r\n",
	"GET /e\rcho HTTP/1.1\r\nHost: b\r\n\r\n",
	"GET /echo\x7f HTTP/1.1\r\nHost: b\r\n\r\n",
	"GET /echo/\xc3\xa4\xff HTTP/1.1\r\nHost: b\r\n\r\n",
	"G(T /echo HTTP/1.1\r\nHost: b\r\n\r\n",
	"G\xc3\xa4T /echo HTTP/1.1\r\nHost: b\r\n\r\n",
	"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
	"\r\n\r\nGET /echo HTTP/1.1\r\nHost: b\r\n\r\n",
	"\n\nGET /echo HTTP/1.1\r\nHost: b\r\n\r\n\r\n\r\n",
	"\r\r\nGET /echo HTTP/1.1\r\nHost: b\r\n\r\n",
	"POST /echo HTTP/1.1\r\nHost: b\r\nContent-Length: 0\r\n\r\n\r\n",
	"GET /" + strings.Repeat("x", http1.MaxLine) + " HTTP/1.1\r\nHost: b\r\n\r\n",
	strings.Repeat("X", http1.MaxLine+1) + " / HTTP/1.1\r\nHost: b\r\n\r\n",
	strings.Repeat("(", http1.MaxLine+1) + " / HTTP/1.1\r\nHost: b\r\n\r\n",
	// Targets.
	"GET http://c/echo HTTP/1.1\r\nHost: b\r\n\r\n",
	"GET HTTP://c:8080/echo?q HTTP/1.1\r\nHost: b\r\n\r\n",
	"GET https://c HTTP/1.1\r\nHost: b\r\n\r\n",
	"GET http://c HTTP/1.0\r\n\r\n",
	"GET http://c/echo HTTP/1.1\r\n\r\n",
	"GET http:///echo HTTP/1.1\r\nHost: b\r\n\r\n",
	"GET http:/echo HTTP/1.1\r\nHost: b\r\n\r\n",
	"GET http:echo HTTP/1.1\r\nHost: b\r\n\r\n",
	"GET ftp://c/echo HTTP/1.1\r\nHost: b\r\n\r\n",
	"GET http://u:p@c/echo HTTP/1.1\r\nHost: b\r\n\r\n",
	"GET http://c:x/echo HTTP/1.1\r\nHost: b\r\n\r\n",
	"GET http://[::1]/echo HTTP/1.1\r\nHost: b\r\n\r\n",
	"GET echo HTTP/1.1\r\nHost: b\r\n\r\n",
	"GET //c/echo HTTP/1.1\r\nHost: b\r\n\r\n",
	"GET /echo#x HTTP/1.1\r\nHost: b\r\n\r\n",
	"GET /echo%zz HTTP/1.1\r\nHost: b\r\n\r\n",
	"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: b\r\n\r\n",
	"GET /dir HTTP/1.1\r\nHost: b\r\n\r\n",
	"GET ?q HTTP/1.1\r\nHost: b\r\n\r\n",
	// Host.
	"GET /echo HTTP/1.1\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost:\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b\r\nHost: b\r\n\r\n",
	"GET /echo HTTP/1.0\r\nHost: b\r\nHost: c\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b, c\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b c\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b/c\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: u@b\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b:80\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b:\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b:80:80\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b:port\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: [::1\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: []\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: ::1\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b%zz\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: \xc3\xa4\r\n\r\n",
	"GET http://c/echo HTTP/1.1\r\nHost: b c\r\n\r\n",
	// Fields.
	"GET /echo HTTP/1.1\r\nHost : b\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b\r\nX Y: z\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b\r\n: z\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b\r\nX\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b\r\nX: a\r\n b\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b\r\nX: a\r\n\tb\r\n\r\n",
	"GET /echo HTTP/1.1\r\n Host: b\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b\r\n \r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b\r\nX: a\rb\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b\r\nX: a\r\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b\r\nX: a\x00\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b\r\nX: a\x0b\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b\r\nX\x00: a\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b\r\nX\xc3\xa4: a\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b\r\nX:\t a \t\r\nx: \xff\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b\r\nX:a:b\r\n\r\n",
	"GET /echo HTTP/1.1\nHost: b\r\nX: y\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b\r\nPragma: no-cache\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b\r\nX: " + strings.Repeat("x", http1.MaxHead) + "\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b\r\n" + strings.Repeat("X: y\r\n", http1.MaxFields) + "\r\n",
	// Connection.
	"GET /echo HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b\r\nConnection: x, CLOSE\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b\r\nConnection: keep-alive, close\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b\r\nConnection: keep-alive\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b\r\nConnection: option close\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
	// Expect.
	"GET /echo HTTP/1.1\r\nHost: b\r\nExpect: 100-continue\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b\r\nExpect: 100-CONTINUE\r\n\r\n",
	"PUT /echo HTTP/1.1\r\nHost: b\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
	"PUT /echo HTTP/1.0\r\nExpect: 100-continue\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b\r\nExpect: tea\r\n\r\n",
	"GET /echo HTTP/1.0\r\nExpect: tea\r\n\r\n",
	"HEAD /echo HTTP/1.1\r\nHost: b\r\nExpect: tea\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b\r\nExpect:\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b\r\nExpect: 100-continue, tea\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b\r\nExpect: 100-continue\r\nExpect: tea\r\n\r\n",
	// Bodies, and requests hidden in them.
	"GET /echo HTTP/1.1\r\nHost: b\r\nContent-Length: 0\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b\r\nContent-Length: 5\r\n\r\nhello",
	"POST /f HTTP/1.1\r\nHost: b\r\nContent-Length: 5\r\n\r\nhello",
	"POST /echo HTTP/1.1\r\nHost: b\r\nContent-Length: 500\r\n\r\nhello",
	"GET /echo HTTP/1.1\r\nHost: b\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
	"GET /echo HTTP/1.1\r\nHost: b\r\nContent-Length: 5\r\nContent-Length: 05\r\n\r\nhello",
	"GET /echo HTTP/1.1\r\nHost: b\r\nContent-Length: 5, 5\r\n\r\nhello",
	"GET /echo HTTP/1.1\r\nHost: b\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
	"GET /echo HTTP/1.1\r\nHost: b\r\nContent-Length: +5\r\n\r\nhello",
	"GET /echo HTTP/1.1\r\nHost: b\r\nContent-Length: -5\r\n\r\nhello",
	"GET /echo HTTP/1.1\r\nHost: b\r\nContent-Length: 0x5\r\n\r\nhello",
	"GET /echo HTTP/1.1\r\nHost: b\r\nContent-Length: 5_0\r\n\r\nhello",
	"GET /echo HTTP/1.1\r\nHost: b\r\nContent-Length:\r\n\r\nhello",
	"GET /echo HTTP/1.1\r\nHost: b\r\nContent-Length: 9223372036854775807\r\n\r\nhello",
	"GET /echo HTTP/1.1\r\nHost: b\r\nContent-Length: 9223372036854775808\r\n\r\nhello",
	"GET /echo HTTP/1.1\r\nHost: b\r\nContent-Length : 5\r\n\r\nhello",
	"GET /echo HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: CHUNKED\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
	"GET echo HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: identity\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b\r\nTransfer-Encoding:\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b\r\nX: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"GET /echo HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"GET /echo HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\nTrailer: Content-Length\r\n\r\n0\r\n\r\n",
	// Files.
	"GET /f HTTP/1.1\r\nHost: b\r\n\r\nHEAD /f HTTP/1.1\r\nHost: b\r\n\r\nGET /none HTTP/1.1\r\nHost: b\r\n\r\n",
	"GET /f HTTP/1.1\r\nHost: b\r\nRange: bytes=2-4\r\n\r\n",
	"GET /f HTTP/1.1\r\nHost: b\r\nRange: bytes=0-0,5-6\r\n\r\n",
	"GET /f HTTP/1.1\r\nHost: b\r\nRange: bytes=99-\r\n\r\n",
	"HEAD /f HTTP/1.1\r\nHost: b\r\nRange: bytes=2-4\r\n\r\n",
	"GET /f HTTP/1.1\r\nHost: b\r\nIf-None-Match: *\r\n\r\n",
	"GET /f HTTP/1.1\r\nHost: b\r\nIf-Match: \"x\"\r\n\r\n",
	"GET /empty HTTP/1.1\r\nHost: b\r\n\r\n",
	"GET /dir/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
	// Ends.
	"GET /echo HTTP/1.1\r\nHost: b\r\n\r\nGE",
	"GET /echo HTTP/1.1\r\nHost",
}

// generate returns a client's input for a seed: requests by a grammar, then some of their
// bytes are changed.
func generate(seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 0))
	pick := func(common string, others ...string) string {
		if r.IntN(8) > 0 {
			return common
		}
		return others[r.IntN(len(others))]
	}
	var b bytes.Buffer
	for range 1 + r.IntN(3) {
		eol := pick("\r\n", "\n")
		b.WriteString(pick("", "\r\n", "\n"))
		b.WriteString(pick("GET", "HEAD", "OPTIONS", "POST", "TRACE", "CONNECT", "get", "PRI", "G T", ""))
		b.WriteString(pick(" ", "  ", "\t"))
		b.WriteString(pick(pick("/echo", "/f", "/echo?a=b", "/dir", "/%66"), "*", "http://c/echo", "http://c", "https://c:1/f", "ftp://c/", "http:///f", "c:80", "//f", "", "/\x01", "http://u@c/"))
		b.WriteString(pick(" ", "  "))
		b.WriteString(pick("HTTP/1.1", "HTTP/1.0", "HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "HTTP/0.9", "HTTP/1.01", "http/1.1", ""))
		b.WriteString(eol)
		host := pick("Host: b", "Host: [::1]:80", "Host:", "Host: a b", "Host: b:x", "host: b", "Host : b", "X: y")
		body := ""
		fields := []string{host}
		for range r.IntN(4) {
			field := pick(pick("Accept: */*", "X: y", "Range: bytes=1-3", "Range: bytes=1-2,4-4", "If-None-Match: *"),
				"Connection: close", "Connection: keep-alive", "connection: Keep-Alive, Close", "Expect: 100-continue", "Expect: x", "Expect: 100-continue,x",
				"Content-Length: 0", "Content-Length: 5", "Content-Length: 5", "Content-Length: x", "Transfer-Encoding: chunked", "Transfer-Encoding: gzip",
				"Transfer-Encoding: gzip, chunked", "Transfer-encoding: chunked, x", host, "X: a"+eol+" b", "X : y", "X", ": y", "X: \x00", "X: \xff")
			if strings.HasPrefix(field, "Content-Length: 5") {
				body = "hello"
			}
			if strings.HasPrefix(field, "Transfer-Encoding: chunked") {
				body = "5\r\nhello\r\n0\r\n\r\n"
			}
			fields = append(fields, field)
		}
		r.Shuffle(len(fields), func(i, j int) { fields[i], fields[j] = fields[j], fields[i] })
		for _, f := range fields {
			b.WriteString(f + eol)
		}
		b.WriteString(eol)
		b.WriteString(body)
	}
	say := b.Bytes()
	for range r.IntN(8) / 5 {
		at := r.IntN(len(say))
		n := r.IntN(min(len(say)-at, 8) + 1)
		switch r.IntN(4) {
		case 0:
			say = slices.Delete(say, at, at+n)
		case 1:
			say = slices.Insert(say, at, "\r\n :\x00\t,;/%HTP10x\xff"[r.IntN(17)])
		case 2:
			say[at] ^= 1 << r.IntN(8)
		case 3:
			say = slices.Insert(say, at, slices.Clone(say[at:at+n])...)
		}
		if len(say) == 0 {
			break
		}
	}
	return say
}

// TestDifferential compares the responses of this server and of net/http's, with
// the same handler: status, fields, body, and the persistence of the connection.
func TestDifferential(t *testing.T) {
	t.Parallel() // with another long test
	h := oldFiles(t)
	ts := startServer(t, h, func(o *Options) { o.Access = false })
	c := &compared{oracle: startOracle(t, h), seen: map[string]int{}, status: map[int]int{}}
	for _, request := range hostile {
		for _, tail := range []string{probe, ""} {
			say := []byte(request + tail)
			for _, withTLS := range []bool{false, true} {
				if withTLS && tail == "" {
					continue // a handshake each
				}
				if err := c.compare(t, say, ts.exchange(t, withTLS, say)); err != nil {
					t.Errorf("tls %v, to %.300q: %v", withTLS, say, err)
				}
			}
		}
	}
	failed := 0
	for i := range uint64(*diffSeeds) {
		seed := *diffFirst + i
		say := append(generate(seed), probe...)
		if err := c.compare(t, say, ts.exchange(t, false, say)); err != nil {
			t.Errorf("-diff.first=%d -diff.seeds=1: to %q: %v", seed, say, err)
			if failed++; failed == 10 {
				t.Fatal("and so on")
			}
		}
	}
	for _, d := range differences {
		if c.seen[d.name] == 0 && !t.Failed() {
			t.Errorf("the difference %q does not occur; it must leave the table", d.name)
		}
	}
	t.Logf("%d requests by hand, %d generated; first replies by status: %v; differences: %v", 3*len(hostile), *diffSeeds, c.status, c.seen)
}

// exchange sends say to the server, closes its side, and returns all bytes that it
// receives until the server closes.
func (ts *testServer) exchange(t testing.TB, withTLS bool, say []byte) []byte {
	t.Helper()
	c := ts.dial(t, withTLS)
	defer c.Close()
	written := make(chan error, 1)
	go func() {
		_, err := c.Write(say)
		if err == nil {
			err = c.(interface{ CloseWrite() error }).CloseWrite()
		}
		written <- err
	}()
	got, err := io.ReadAll(c)
	if err != nil {
		t.Errorf("after %.100q: %v", say, err)
	}
	<-written // a server that has refused a request need not read the rest
	return got
}

// TestPiecesDoNotChangeResponse: the response does not depend on the pieces in which bytes arrive.
func TestPiecesDoNotChangeResponse(t *testing.T) {
	s := driveSettings(oldFiles(t))
	for _, request := range hostile {
		say := []byte(request + probe)
		want, err := readOutcome(drive(t, s, say, func() int { return len(say) }))
		if err != nil {
			t.Fatalf("to %.300q: %v", say, err)
		}
		for seed := range uint64(4) {
			r := rand.New(rand.NewPCG(seed, 1))
			got, err := readOutcome(drive(t, s, say, func() int { return 1 + r.IntN(1+int(seed)*int(seed)*7) })) // 0: byte by byte
			if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("to %.300q, in pieces by %d: %v\n%v, in one piece:\n%v", say, seed, err, got, want)
			}
		}
	}
}
