package wrong

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestCaught runs tests of the product's own packages against builds that break
// what they test: they must fail.
func TestCaught(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		variant Variant
		tests   []string
	}{
		{NoDrain, []string{"TestSimulation"}},
		{OnlyPOLLOUT, []string{"TestSimulation"}},
		{NoLinger, []string{"TestSimulation", "TestUnreadInputLosesNoData"}},
		{NoSeal, []string{"TestSimulation", "TestChangedFileIsNoSuccess", "TestChangeAtAnyMoment"}},
		{Unsealed, []string{"TestChangedFileIsNoSuccess"}},
		{NoSettle, []string{"TestTagNeverNamesTwoContents", "TestChangeInTheOpeningTickIsDetected"}},
		{WrongMeter, []string{"TestSimulation"}},
		{ShortSplice, []string{"TestSimulation"}},
		{DirtyPipe, []string{"TestSimulation"}},
		{EarlyBuffer, []string{"TestSimulation"}},
		{DoubleClose, []string{"TestSimulation"}},
		{NoAckWait, []string{"TestSimulation"}},
		{RacyBase, []string{"TestMeterBase"}},
		{Unbounded, []string{"TestSimulation"}},
		{NoShare, []string{"TestShareOfMemory"}},
		{Untested, []string{"TestQuarantine"}},
		{PushedOnce, []string{"TestPushRepeatsWhileEngineHoldsRecords"}},
		{NoLook, []string{"TestShareReachesTCP"}},
		{FreePipe, []string{"TestSimulation"}},
		{NoTurns, []string{"TestSimulation"}},
		{EngineOnLoop, []string{"TestSimulation"}},
		{MarkTrusted, []string{"TestInline", "TestInlineBoards"}},
		{EngineUnbounded, []string{"TestSimulation"}},
		{EngineTrusted, []string{"TestSimulation"}},
		{Unwatched, []string{"TestSimulation", "TestNewDriver"}},
		{LookedOnce, []string{"TestSimulation", "TestDriverRegisteredDuringOffload"}},
		{EngineBlind, []string{"TestEngineOutputProvesLife"}},
		{EngineHurried, []string{"TestSlowPushIsNoStall"}},
		{StillOffloads, []string{"TestSimulation"}},
		{ClosesDead, []string{"TestSimulation", "TestEngineRecovers"}},
		{ClosesInRing, []string{"TestSimulation"}},
		{Deaf, []string{"TestBadRecordMACIsLogged"}},
		{NoLateLook, []string{"TestRequestReceivedInTimeIsServed"}},
		{NotAsked, []string{"TestSocketErrorEndsPoll"}},
		{StopsAtOnce, []string{"TestShutdownCompletesTransfers"}},
		{SecondIgnored, []string{"TestSecondSIGTERMResetsTransfers"}},
		{NoReset, []string{"TestKilledServiceResetsTransfers"}},
		{FullIsEmpty, []string{"TestOverflow"}},
		{ReadsOnLoop, []string{"TestSimulation"}},
		{FreesOnLoop, []string{"TestSimulation"}},
		{OnePool, []string{"TestSimulation", "TestHungStorageDelaysNobodyElse"}},
		{ColdHandlers, []string{"TestSimulation", "TestHungStorageDelaysNobodyElse"}},
		{NeverWithdrawn, []string{"TestSimulation", "TestQueuedJobTimesOut"}},
		{WithdrawnTwice, []string{"TestSimulation"}},
		{EndsShort, []string{"TestSimulation"}},
		{SharedWorkers, []string{"TestHandshakesDelayNobodyElse"}},
		{WrongIV, []string{"TestDeriveKeys", "TestOffloadKeys"}},
		{OneTicket, []string{"TestCountRecordsTickets"}},
		{FixedNonce, []string{"TestOffloadKeys"}},
		{PartsIgnored, []string{"TestMarkHardware"}},
		{PriorityKept, []string{"TestRaiseIsRevertedAtTheEnd"}},
		{MarkPrefers, []string{"TestChoose"}},
		{EndlessKeys, []string{"TestKeyLimitEndsConnection"}},
		{FixesIgnored, []string{"TestKernelFixes"}},
		{ProbeStays, []string{"TestRingThreadEnds"}},
	} {
		t.Run(tc.variant.Name, func(t *testing.T) {
			t.Parallel()
			overlay, err := tc.variant.Overlay(root, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			run := "^(" + strings.Join(tc.tests, "|") + ")$"
			args := []string{"test", "-vet=off", "-count=1", "-timeout", "400s", "-run", run, "./service/server"}
			switch tc.variant.Name {
			case NoSettle.Name:
				args[len(args)-1] = "./service/files"
			case RacyBase.Name, WrongIV.Name, OneTicket.Name, FixedNonce.Name:
				args[len(args)-1] = "./ktls"
			case MarkPrefers.Name:
				args[len(args)-1] = "./offload"
			case PriorityKept.Name:
				args[len(args)-1] = "./offload/priority"
			case Untested.Name, FixesIgnored.Name, ProbeStays.Name:
				args[len(args)-1] = "./platform"
			case MarkTrusted.Name, PartsIgnored.Name:
				args[len(args)-1] = "./platform/cryptoapi"
			case FullIsEmpty.Name:
				args[len(args)-1] = "./uring"
			case SecondIgnored.Name, NoReset.Name:
				args[len(args)-1] = "."
			default:
				args = append(args, "-sim.shrink", "0s", "-sim.seeds", "20000")
			}
			cmd := exec.Command("go", args...)
			cmd.Dir = root
			cmd.Env = append(os.Environ(), "GOFLAGS=-overlay="+overlay) // for what the test builds, too
			out, err := cmd.CombinedOutput()
			t.Logf("%s", out[:min(len(out), 2000)])
			for _, name := range tc.tests {
				if err == nil || !strings.Contains(string(out), "--- FAIL: "+name) {
					t.Errorf("%s does not catch it: %v\n%s", name, err, out)
				}
			}
		})
	}
}
