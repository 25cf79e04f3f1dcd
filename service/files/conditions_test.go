package files

import (
	"net/http"
	"testing"
	"time"
)

// TestPrecondition: the conditions of RFC 9110, section 13.2.2, in every form of the fields.
func TestPrecondition(t *testing.T) {
	modified := time.Unix(1_700_000_000, 999_999_999)
	const (
		tag    = `"1-a,b"` // a comma may stand in a tag
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
		{"match any, with blanks", http.Header{"If-Match": {" *\t"}}, 200},
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
		{"behind what is malformed", http.Header{"If-Match": {`x, ` + tag}}, 412},
		{"without a comma", http.Header{"If-Match": {`"x" ` + tag}}, 412},
		{"a blank in a tag", http.Header{"If-Match": {`"x y", ` + tag}}, 412},

		{"unmodified", http.Header{"If-Unmodified-Since": {same}}, 200},
		{"unmodified later", http.Header{"If-Unmodified-Since": {after}}, 200},
		{"not unmodified", http.Header{"If-Unmodified-Since": {before}}, 412},
		{"not unmodified, as asctime", http.Header{"If-Unmodified-Since": {"Tue Nov 14 22:13:19 2023"}}, 412},
		{"not unmodified, of RFC 850", http.Header{"If-Unmodified-Since": {"Tuesday, 14-Nov-23 22:13:19 GMT"}}, 412},
		{"unmodified since two dates", http.Header{"If-Unmodified-Since": {before, before}}, 200},
		{"unmodified since what is no date", http.Header{"If-Unmodified-Since": {"yesterday"}}, 200},
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
		{"not modified, of RFC 850", http.Header{"If-Modified-Since": {"Tuesday, 14-Nov-23 22:13:20 GMT"}}, 304},
		{"not modified later", http.Header{"If-Modified-Since": {after}}, 304},
		{"modified", http.Header{"If-Modified-Since": {before}}, 200},
		{"modified since what is no date", http.Header{"If-Modified-Since": {"yesterday"}}, 200},
		{"modified since two dates", http.Header{"If-Modified-Since": {same, same}}, 200},

		{"match fails before none match", http.Header{"If-Match": {`"x"`}, "If-None-Match": {tag}}, 412},
		{"match holds, then none match", http.Header{"If-Match": {tag}, "If-None-Match": {tag}}, 304},
		{"unmodified, and not modified", http.Header{"If-Unmodified-Since": {same}, "If-Modified-Since": {same}}, 304},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := precondition(test.header, tag, modified, origin{}); got != test.want {
				t.Errorf("%d, want %d", got, test.want)
			}
		})
	}
}
