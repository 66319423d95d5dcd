package parking_test

import (
	"errors"
	"log/slog"
	"os"
	"syscall"
	"testing"

	"cartstream/consumers/parking"
)

func TestAFullDiskIsAnErrorAndNothingCountsAsHeld(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Symlink("/dev/full", file(dir)))
	s := spool(t, dir, roomy)
	for range 2 {
		if err := s.Park(t.Context(), letters("a")); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("parked on a full disk: %v", err)
		}
	}
	must(t, os.Remove(file(dir)))
	must(t, s.Park(t.Context(), letters("a", "b")))
	holds(t, s, "a", "b")
}

func TestAReadOnlyDirectoryIsRefusedAtOnce(t *testing.T) {
	if _, err := parking.NewSpool("/proc", roomy, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("/proc takes no files")
	}
}
