package matrix

import "testing"

func TestBoardsAreCovered(t *testing.T) {
	m := Boards()
	rows := m.Generate(1)
	c := m.Cover(rows)
	downloads := 0
	machines := map[string]int{}
	for _, r := range rows {
		cell := m.Cell(r)
		_, o := cell.Plan(1)
		downloads += o.Downloads
		machines[cell.Machine()]++
	}
	t.Logf("%d cells: %v; %d downloads; %v", len(rows), c, downloads, machines)
	if len(c.Missing) > 0 {
		t.Errorf("not covered: %d, such as %s", len(c.Missing), m.Name(c.Missing[0]))
	}
	if want := 20_000; downloads < want {
		t.Errorf("%d downloads, want %d", downloads, want)
	}
}
