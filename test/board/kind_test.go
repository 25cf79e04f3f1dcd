package board

import "testing"

func TestSecondDescriptorOfFileIsNotKept(t *testing.T) {
	kept := map[string]bool{}
	for _, test := range []struct{ target, want string }{
		{"anon_inode:[io_uring]", "anon_inode"},
		{"anon_inode:inotify", "anon_inode"},
		{"socket:[123]", "socket"},
		{"pipe:[45]", "pipe"},
		{Root + "/a.bin", "kept"},
		{Root + "/dir/a.bin", "kept"},
		{Root + "/a.bin", "file"},
		{Root + "/old.bin (deleted)", "file"},
		{"/proc/1/mountinfo", "file"},
		{Root + "2/a.bin", "file"},
	} {
		if got := kindOf(test.target, kept); got != test.want {
			t.Errorf("%s is %s, want %s", test.target, got, test.want)
		}
	}
}
