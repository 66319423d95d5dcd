package parking

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	spoolName = "letters.spool"
	lockName  = "lock"
	// pageBytes bounds how much of the file is in memory at once.
	pageBytes = 8 << 20
)

// ErrFull says that the file would become longer than it may.
var ErrFull = errors.New("spool is full")

// Spool holds letters in one append-only file, synced to the disk before Park returns. What a crash left half-written at its
// end, and what the disk spoiled, is set aside in a file of its own and costs no other letter. One process at a time has it;
// others get errors until that one ends.
type Spool struct {
	dir   string
	limit int64
	log   *slog.Logger

	mu     sync.Mutex
	locked *os.File
	file   *os.File // nil: to be opened and read
	size   int64
	frames []frame       // in the order of the file
	held   map[name]bool // those of them that the topic isn't known to have
}

// NewSpool returns a Spool in the directory, which must be there and take files, of at most limit bytes.
func NewSpool(dir string, limit int64, log *slog.Logger) (*Spool, error) {
	if err := CheckDir(dir); err != nil {
		return nil, err
	}
	return &Spool{dir: dir, limit: limit, log: log}, nil
}

// CheckDir returns an error where the directory isn't there or takes no files.
func CheckDir(dir string) error {
	f, err := os.CreateTemp(dir, "check-*")
	if err != nil {
		return err
	}
	_, err = f.WriteString("written")
	return errors.Join(err, f.Sync(), f.Close(), os.Remove(f.Name()))
}

// Close lets another process have the file.
func (s *Spool) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var faults []error
	for _, f := range []*os.File{s.file, s.locked} {
		if f != nil {
			faults = append(faults, f.Close())
		}
	}
	s.file, s.locked = nil, nil
	return errors.Join(faults...)
}

// Park implements Holder. The error is ErrFull, or one of the file system's; then none of the letters counts as held.
func (s *Spool) Park(_ context.Context, letters []*kgo.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.open(); err != nil {
		return err
	}
	var added []byte
	var frames []frame
	for _, l := range letters {
		framed, err := encode(l)
		if err != nil {
			return err
		}
		f := frame{size: int64(len(framed)), name: nameOf(l, framed)}
		if !s.held[f.name] {
			added, frames = append(added, framed...), append(frames, f)
		}
	}
	if len(added) == 0 {
		return nil
	}
	if s.size+int64(len(added)) > s.limit {
		if err := s.compact(); err != nil {
			return err
		}
		if s.size+int64(len(added)) > s.limit {
			return fmt.Errorf("%w: %d of %d bytes, %d more are needed", ErrFull, s.size, s.limit, len(added))
		}
	}
	at := s.size
	if err := s.append(added); err != nil {
		return err
	}
	for _, f := range frames {
		f.at = at
		at += f.size
		s.add(f)
	}
	return nil
}

func (s *Spool) add(f frame) {
	s.frames = append(s.frames, f)
	s.held[f.name] = true
}

// append writes and syncs. After an error the file is read anew before anything else: what of it is on the disk nobody knows.
func (s *Spool) append(b []byte) error {
	_, err := s.file.WriteAt(b, s.size)
	if err == nil {
		if err = s.file.Sync(); err == nil {
			s.size += int64(len(b))
			return nil
		}
	}
	return errors.Join(fmt.Errorf("write %s: %w", spoolName, err), s.file.Truncate(s.size), s.reopen())
}

// reopen makes the next call read the file again.
func (s *Spool) reopen() error {
	err := s.file.Close()
	s.file = nil
	return err
}

// Unwritten implements Holder: the oldest come first.
func (s *Spool) Unwritten(_ context.Context, skip, limit int) ([]*kgo.Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.open(); err != nil {
		return nil, err
	}
	var letters []*kgo.Record
	var total int64
	for _, f := range s.frames {
		if !s.held[f.name] {
			continue
		}
		if skip > 0 {
			skip--
			continue
		}
		if total += f.size; len(letters) == limit || total > pageBytes && len(letters) > 0 {
			break
		}
		_, l, err := next(io.NewSectionReader(s.file, f.at, f.size), f.at)
		if err != nil { // it was whole when it was read or written: the whole file is looked at again, and this frame set aside
			return letters, errors.Join(fmt.Errorf("read %s at %d: %w", spoolName, f.at, err), s.reopen())
		}
		letters = append(letters, l)
	}
	return letters, nil
}

// Written implements Holder. Once no letter is left the file is empty.
func (s *Spool) Written(_ context.Context, letters ...*kgo.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.open(); err != nil {
		return err
	}
	for _, l := range letters {
		framed, err := encode(l)
		if err != nil {
			return err
		}
		delete(s.held, nameOf(l, framed))
	}
	for len(s.frames) > 0 && !s.held[s.frames[0].name] {
		s.frames = s.frames[1:]
	}
	if len(s.frames) > 0 || s.size == 0 {
		return nil
	}
	if err := s.file.Truncate(0); err != nil {
		return errors.Join(fmt.Errorf("empty %s: %w", spoolName, err), s.reopen())
	}
	s.size = 0
	return s.file.Sync()
}
