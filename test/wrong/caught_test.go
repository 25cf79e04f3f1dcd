package wrong

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A catch is a test that fails against a mutant, and a regular expression that its failure
// matches: a failure for another reason proves nothing.
type catch struct{ test, reason string }

type caughtMutant struct {
	variant Variant
	pkg     string
	catches []catch
}

// caught is every mutant that a test of a package catches, with the package. Tests on boards
// catch the others.
var caught = []caughtMutant{
	{NoDrain, "./service/server", []catch{{"TestSimulation", ``}}},
	{OnlyPOLLOUT, "./service/server", []catch{{"TestSimulation", ``}}},
	{NoLinger, "./service/server", []catch{{"TestSimulation", ``}, {"TestUnreadInputLosesNoData", ``}}},
	{NoSeal, "./service/server", []catch{{"TestSimulation", ``}, {"TestChangedFileIsNoSuccess", ``}, {"TestChangeAtAnyMoment", ``}}},
	{Unsealed, "./service/server", []catch{{"TestChangedFileIsNoSuccess", ``}}},
	{NoSettle, "./service/files", []catch{{"TestTagNeverNamesTwoContents", ``}, {"TestChangeInTheOpeningTickIsDetected", ``}}},
	{WrongMeter, "./service/server", []catch{{"TestSimulation", ``}}},
	{ShortSplice, "./service/server", []catch{{"TestSimulation", ``}}},
	{DirtyPipe, "./service/server", []catch{{"TestSimulation", ``}}},
	{EarlyBuffer, "./service/server", []catch{{"TestSimulation", ``}}},
	{DoubleClose, "./service/server", []catch{{"TestSimulation", ``}}},
	{NoAckWait, "./service/server", []catch{{"TestSimulation", ``}}},
	{RacyBase, "./ktls", []catch{{"TestMeterBase", ``}}},
	{Unbounded, "./service/server", []catch{{"TestSimulation", ``}}},
	{NoShare, "./service/server", []catch{{"TestShareOfMemory", ``}}},
	{Untested, "./platform", []catch{{"TestQuarantine", ``}}},
	{PushedOnce, "./service/server", []catch{{"TestPushRepeatsWhileEngineHoldsRecords", ``}}},
	{NoLook, "./service/server", []catch{{"TestShareReachesTCP", ``}}},
	{FreePipe, "./service/server", []catch{{"TestSimulation", ``}}},
	{NoTurns, "./service/server", []catch{{"TestSimulation", ``}}},
	{EngineOnLoop, "./service/server", []catch{{"TestSimulation", ``}}},
	{MarkTrusted, "./platform/cryptoapi", []catch{{"TestInline", ``}, {"TestInlineBoards", ``}}},
	{EngineUnbounded, "./service/server", []catch{{"TestSimulation", ``}}},
	{EngineTrusted, "./service/server", []catch{{"TestSimulation", ``}}},
	{Unwatched, "./service/server", []catch{{"TestSimulation", ``}, {"TestNewDriver", ``}}},
	{LookedOnce, "./service/server", []catch{{"TestSimulation", ``}, {"TestDriverRegisteredDuringOffload", ``}}},
	{EngineBlind, "./service/server", []catch{{"TestEngineOutputProvesLife", ``}}},
	{EngineHurried, "./service/server", []catch{{"TestSlowPushIsNoStall", ``}}},
	{StillOffloads, "./service/server", []catch{{"TestSimulation", ``}}},
	{ClosesDead, "./service/server", []catch{{"TestSimulation", ``}, {"TestEngineRecovers", ``}}},
	{ClosesInRing, "./service/server", []catch{{"TestSimulation", ``}}},
	{Deaf, "./service/server", []catch{{"TestBadRecordMACIsLogged", ``}}},
	{NoLateLook, "./service/server", []catch{{"TestRequestReceivedInTimeIsServed", ``}}},
	{NotAsked, "./service/server", []catch{{"TestSocketErrorEndsPoll", ``}}},
	{StopsAtOnce, "./service/server", []catch{{"TestShutdownCompletesTransfers", ``}}},
	{SecondIgnored, ".", []catch{{"TestSecondSIGTERMResetsTransfers", ``}}},
	{NoReset, ".", []catch{{"TestKilledServiceResetsTransfers", ``}}},
	{FullIsEmpty, "./uring", []catch{{"TestOverflow", ``}}},
	{ReadsOnLoop, "./service/server", []catch{{"TestSimulation", ``}}},
	{FreesOnLoop, "./service/server", []catch{{"TestSimulation", ``}}},
	{OnePool, "./service/server", []catch{{"TestSimulation", ``}, {"TestHungStorageDelaysNobodyElse", ``}}},
	{ColdHandlers, "./service/server", []catch{{"TestSimulation", ``}, {"TestHungStorageDelaysNobodyElse", ``}}},
	{NeverWithdrawn, "./service/server", []catch{{"TestSimulation", ``}, {"TestQueuedJobTimesOut", ``}}},
	{WithdrawnTwice, "./service/server", []catch{{"TestSimulation", ``}}},
	{EndsShort, "./service/server", []catch{{"TestSimulation", ``}}},
	{SharedWorkers, "./service/server", []catch{{"TestHandshakesDelayNobodyElse", ``}}},
	{WrongIV, "./ktls", []catch{{"TestDeriveKeys", ``}, {"TestOffloadKeys", ``}}},
	{OneTicket, "./ktls", []catch{{"TestCountRecordsTickets", ``}}},
	{FixedNonce, "./ktls", []catch{{"TestOffloadKeys", ``}}},
	{PartsIgnored, "./platform/cryptoapi", []catch{{"TestMarkHardware", ``}}},
	{PriorityKept, "./offload/priority", []catch{{"TestRaiseIsRevertedAtTheEnd", ``}}},
	{MarkPrefers, "./offload", []catch{{"TestChoose", ``}}},
	{EndlessKeys, "./service/server", []catch{{"TestKeyLimitEndsConnection", ``}}},
	{FixesIgnored, "./platform", []catch{{"TestKernelFixes", ``}}},
	{UserKeysEndless, "./service/server", []catch{{"TestKeyLimitEndsConnection", ``}}},
	{IdleUnwatched, "./service/server", []catch{{"TestIdleConnectionObeysStallTimeout", ``}}},
	{TCPTimeout, "./service/server", []catch{{"TestTCPEndsNoSlowConnection", ``}}},
	{SeldomLooks, "./service/server", []catch{{"TestStallTimeoutIsAccurate", ``}}},
	{ProbeStays, "./platform", []catch{{"TestRingThreadEnds", ``}}},
}

// TestCaught runs tests of the product's own packages against the mutants. They must fail, for
// their reasons.
func TestCaught(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range caught {
		t.Run(tc.variant.Name, func(t *testing.T) {
			t.Parallel()
			overlay, err := tc.variant.Overlay(root, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, c := range tc.catches {
				names = append(names, c.test)
			}
			args := []string{"test", "-vet=off", "-count=1", "-timeout", "400s", "-run", "^(" + strings.Join(names, "|") + ")$", tc.pkg}
			if slices.Contains(names, "TestSimulation") {
				args = append(args, "-sim.shrink", "0s", "-sim.seeds", "20000")
			}
			cmd := exec.Command("go", args...)
			cmd.Dir = root
			cmd.Env = append(os.Environ(), "GOFLAGS=-overlay="+overlay) // for what the test builds, too
			out, err := cmd.CombinedOutput()
			for _, c := range tc.catches {
				failure := failureOf(string(out), c.test)
				switch {
				case err == nil || failure == "":
					t.Errorf("%s does not catch it: %v\n%s", c.test, err, out)
				case !regexp.MustCompile(c.reason).MatchString(failure):
					t.Errorf("%s fails for another reason than %q:\n%s", c.test, c.reason, failure)
				default:
					t.Logf("%s: %s", c.test, failure[:min(len(failure), 1000)])
				}
			}
		})
	}
}

// failureOf returns what go test printed about a test that failed, or "".
func failureOf(output, test string) string {
	_, failure, found := strings.Cut(output, "--- FAIL: "+test+" ")
	if !found {
		return ""
	}
	failure, _, _ = strings.Cut(failure, "\n--- ")
	return failure
}
