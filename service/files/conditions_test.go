package files

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestPreconditionFollowsRFC9110 evaluates the conditions of section 13.2.2, in every form of the
// fields.
func TestPreconditionFollowsRFC9110(t *testing.T) {
	modified := time.Unix(1_700_000_000, 999_999_999)
	const (
		tag    = `"1-a,b"` // a tag may contain a comma
		same   = "Tue, 14 Nov 2023 22:13:20 GMT"
		before = "Tue, 14 Nov 2023 22:13:19 GMT"
		after  = "Tue, 14 Nov 2023 22:13:21 GMT"
	)
	for _, test := range []struct {
		name   string
		header http.Header
		want   int
	}{
		{"none", http.Header{}, 200},

		{"match", http.Header{"If-Match": {tag}}, 200},
		{"match any", http.Header{"If-Match": {"*"}}, 200},
		{"match any, with spaces", http.Header{"If-Match": {" *\t"}}, 200},
		{"match in a list", http.Header{"If-Match": {`"x" , W/"y",,` + tag}}, 200},
		{"match in another line", http.Header{"If-Match": {`"x"`, tag}}, 200},
		{"no match", http.Header{"If-Match": {`"x"`}}, 412},
		{"no match of a part", http.Header{"If-Match": {`"1-a`, `b"`}}, 412},
		{"no weak match", http.Header{"If-Match": {"W/" + tag}}, 412},
		{"weak, then strong", http.Header{"If-Match": {"W/" + tag + "," + tag}}, 200},
		{"an empty list", http.Header{"If-Match": {""}}, 412},
		{"any among others", http.Header{"If-Match": {`"x", *`}}, 412},
		{"without quotes", http.Header{"If-Match": {"1-a,b"}}, 412},
		{"without an end", http.Header{"If-Match": {`"1-a,b`}}, 412},
		{"after a malformed element", http.Header{"If-Match": {`x, ` + tag}}, 412},
		{"without a comma", http.Header{"If-Match": {`"x" ` + tag}}, 412},
		{"a space in a tag", http.Header{"If-Match": {`"x y", ` + tag}}, 412},

		{"unmodified", http.Header{"If-Unmodified-Since": {same}}, 200},
		{"unmodified later", http.Header{"If-Unmodified-Since": {after}}, 200},
		{"not unmodified", http.Header{"If-Unmodified-Since": {before}}, 412},
		{"not unmodified, as asctime", http.Header{"If-Unmodified-Since": {"Tue Nov 14 22:13:19 2023"}}, 412},
		{"not unmodified, as in RFC 850", http.Header{"If-Unmodified-Since": {"Tuesday, 14-Nov-23 22:13:19 GMT"}}, 412},
		{"unmodified since two dates", http.Header{"If-Unmodified-Since": {before, before}}, 200},
		{"unmodified since an invalid date", http.Header{"If-Unmodified-Since": {"yesterday"}}, 200},
		{"match counts, not the date", http.Header{"If-Match": {tag}, "If-Unmodified-Since": {before}}, 200},

		{"none match: same", http.Header{"If-None-Match": {tag}}, 304},
		{"none match: weak", http.Header{"If-None-Match": {"W/" + tag}}, 304},
		{"none match: any", http.Header{"If-None-Match": {"*"}}, 304},
		{"none match: list", http.Header{"If-None-Match": {`"x",W/"y" ,	` + tag + `, "z"`}}, 304},
		{"none match: first line", http.Header{"If-None-Match": {tag, `"x"`}}, 304},
		{"none match: second line", http.Header{"If-None-Match": {`"x"`, "W/" + tag}}, 304},
		{"none match: third line", http.Header{"If-None-Match": {`"x"`, "", tag}}, 304},
		{"none match: other", http.Header{"If-None-Match": {`"x"`}}, 200},
		{"none match: lower case", http.Header{"If-None-Match": {`w/` + tag}}, 200},
		{"none match: a part", http.Header{"If-None-Match": {`"a", b"`}}, 200},
		{"none match: malformed", http.Header{"If-None-Match": {`1-a,b`}}, 200},
		{"none match counts, not the date", http.Header{"If-None-Match": {`"x"`}, "If-Modified-Since": {same}}, 200},
		{"none match of an empty list counts, not the date", http.Header{"If-None-Match": {""}, "If-Modified-Since": {same}}, 200},

		{"not modified", http.Header{"If-Modified-Since": {same}}, 304},
		{"not modified, as asctime", http.Header{"If-Modified-Since": {"Tue Nov 14 22:13:20 2023"}}, 304},
		{"not modified, as in RFC 850", http.Header{"If-Modified-Since": {"Tuesday, 14-Nov-23 22:13:20 GMT"}}, 304},
		{"not modified later", http.Header{"If-Modified-Since": {after}}, 304},
		{"modified", http.Header{"If-Modified-Since": {before}}, 200},
		{"modified since an invalid date", http.Header{"If-Modified-Since": {"yesterday"}}, 200},
		{"modified since two dates", http.Header{"If-Modified-Since": {same, same}}, 200},

		{"match fails before none match", http.Header{"If-Match": {`"x"`}, "If-None-Match": {tag}}, 412},
		{"match holds, then none match", http.Header{"If-Match": {tag}, "If-None-Match": {tag}}, 304},
		{"unmodified, and not modified", http.Header{"If-Unmodified-Since": {same}, "If-Modified-Since": {same}}, 304},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := precondition(conditionsOf(test.header), tag, modified, origin{}); got != test.want {
				t.Errorf("%d, want %d", got, test.want)
			}
		})
	}
}

// TestIfRangeDateMustBeUnambiguous: a date does not resume a download if the file may have had two
// contents with that date.
func TestIfRangeDateMustBeUnambiguous(t *testing.T) {
	now := time.Unix(1_700_000_000, 500_000_000)
	const tag, second, earlier = `"x"`, "Tue, 14 Nov 2023 22:13:20 GMT", "Tue, 14 Nov 2023 22:13:19 GMT"
	for _, test := range []struct {
		name     string
		ifRange  []string
		modified time.Time
		want     bool
	}{
		{"none", nil, now, true},
		{"empty", []string{""}, now, false},
		{"tag", []string{tag}, now, true},
		{"another tag", []string{`"y"`}, now, false},
		{"weak tag", []string{`W/"x"`}, now, false},
		{"any tag", []string{"*"}, now, false},
		{"a list of tags", []string{`"y", "x"`}, now, false},
		{"the tag twice", []string{tag, tag}, now, false},
		{"date of a past second", []string{earlier}, now.Add(-501 * time.Millisecond), true},
		{"the same as asctime", []string{"Tue Nov 14 22:13:19 2023"}, now.Add(-501 * time.Millisecond), true},
		{"the same as in RFC 850", []string{"Tuesday, 14-Nov-23 22:13:19 GMT"}, now.Add(-501 * time.Millisecond), true},
		{"date twice", []string{earlier, earlier}, now.Add(-501 * time.Millisecond), false},
		{"later date", []string{second}, now.Add(-501 * time.Millisecond), false},
		{"date of this second", []string{second}, now.Add(-time.Millisecond), false},
		{"date of a file with a time in the future", []string{second}, lastModified(now.Add(time.Hour), now), false},
		{"1970", []string{"Thu, 01 Jan 1970 00:00:00 GMT"}, time.Unix(0, 0), true},
	} {
		header := http.Header{}
		if test.ifRange != nil {
			header["If-Range"] = test.ifRange
		}
		if got := resumes(conditionsOf(header), tag, test.modified, now, origin{}); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
	root, dir := tree(t)
	must(t, os.Chtimes(filepath.Join(dir, "a.txt"), time.Time{}, time.Now().Add(time.Hour)))
	for range 2 { // a new second may begin between the requests of one pass
		h := New(root, Options{})
		modified := do(t, h, request("HEAD", "/a.txt")).Header().Get("Last-Modified")
		if w := do(t, h, request("GET", "/a.txt", "If-Range", modified, "Range", "bytes=1-2")); w.Code != 200 {
			t.Errorf("a file with a time in the future: %d", w.Code)
		}
	}
}
