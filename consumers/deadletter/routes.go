package deadletter

import (
	"errors"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"cartstream/consumers/admin"
	"cartstream/schemas"
)

// DeadLetter is a letter as the ops API shows it.
type DeadLetter struct {
	ID            string       `json:"id"`
	Group         string       `json:"group"`
	Topic         string       `json:"topic"`
	Partition     int64        `json:"partition"`
	Offset        int64        `json:"offset"`
	Key           string       `json:"key"`    // as far as it is text
	UserID        string       `json:"userId"` // "" where it is about nobody's cart
	Class         string       `json:"class"`
	Error         string       `json:"error"`
	Attempts      int64        `json:"attempts"` // 0 where that isn't known
	FirstFailedAt schemas.Time `json:"firstFailedAt"`
	LastFailedAt  schemas.Time `json:"lastFailedAt"`
	Status        Status       `json:"status"`
	// Verdict is null where the store can't be asked now, and for letters of foreign groups.
	Verdict *Verdict `json:"verdict"`
}

// Whole is a DeadLetter with what it carries.
type Whole struct {
	DeadLetter
	Headers map[string]string `json:"headers"`
	Value   *[]byte           `json:"value"` // base64, or null for a null
}

// Page is a part of the list.
type Page struct {
	Items      []DeadLetter `json:"items"`
	NextCursor string       `json:"nextCursor,omitempty"`
}

// History is all that was done with a letter, oldest first.
type History struct {
	Items []Entry `json:"items"`
}

const (
	defaultRate   = 20
	maxRate       = 1000
	longestReason = 1000 // characters
)

// Routes are the calls of the ops API about dead letters.
func (l *Lot) Routes() []admin.Route {
	return []admin.Route{
		{Pattern: "GET /admin/dead-letters", Handle: l.list},
		{Pattern: "GET /admin/dead-letters/{id}", Handle: l.show},
		{Pattern: "GET /admin/dead-letters/{id}/history", Handle: l.history},
		{Pattern: "POST /admin/dead-letters/{id}/replay", Handle: l.replayOne},
		{Pattern: "POST /admin/dead-letters/replay", Handle: l.replayMany},
		{Pattern: "POST /admin/dead-letters/{id}/discard", Handle: l.discardOne},
	}
}

func (l *Lot) list(w http.ResponseWriter, r *http.Request) error {
	f, after, limit, err := parseList(r.URL.RawQuery)
	if err != nil {
		return err
	}
	about := map[string]subject{}
	letters, more, err := l.index.page(r.Context(), f, after, limit, func(one *letter) { about[one.ID] = subjectOf(one) })
	if err != nil {
		return err
	}
	verdicts := l.verdicts(r.Context(), letters, about)
	page := Page{Items: make([]DeadLetter, len(letters))}
	for i, one := range letters {
		page.Items[i] = shown(one, verdicts)
	}
	if more {
		last := letters[len(letters)-1]
		page.NextCursor = position{last.LastFailedAt.UnixMilli(), last.ID}.String()
	}
	admin.Answer(w, http.StatusOK, page)
	return nil
}

func (l *Lot) show(w http.ResponseWriter, r *http.Request) error {
	one, err := l.index.find(r.Context(), r.PathValue("id"))
	if err != nil {
		return problem(err)
	}
	whole := Whole{DeadLetter: shown(one, l.verdictOf(r.Context(), one)), Headers: map[string]string{}}
	for _, h := range one.Headers {
		whole.Headers[readable(h.Name)] = readable(h.Value)
	}
	if one.Value != nil {
		whole.Value = &one.Value
	}
	admin.Answer(w, http.StatusOK, whole)
	return nil
}

func (l *Lot) history(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	if _, err := l.index.read(r.Context(), id, withoutValue); err != nil {
		return problem(err)
	}
	entries, err := l.index.audit.of(r.Context(), id)
	if err != nil {
		return err
	}
	admin.Answer(w, http.StatusOK, History{entries})
	return nil
}

func (l *Lot) replayOne(w http.ResponseWriter, r *http.Request) error {
	one, err := l.replay(r.Context(), r.PathValue("id"), admin.Subject(r.Context()), answerWithin)
	if err != nil {
		return problem(err)
	}
	return l.answer(w, r, http.StatusAccepted, one.ID)
}

func (l *Lot) discardOne(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Reason string `json:"reason"`
	}
	if err := admin.Decode(r, &body); err != nil {
		return err
	}
	reason := strings.TrimSpace(body.Reason)
	if n := utf8.RuneCountInString(reason); n < 1 || n > longestReason || strings.ContainsRune(reason, 0) {
		return admin.BadRequest("reason", "must be a text of 1 to 1,000 characters")
	}
	one, err := l.discard(r.Context(), r.PathValue("id"), admin.Subject(r.Context()), reason)
	if err != nil {
		return problem(err)
	}
	return l.answer(w, r, http.StatusOK, one.ID)
}

// answer shows the letter as it is now.
func (l *Lot) answer(w http.ResponseWriter, r *http.Request, status int, id string) error {
	one, err := l.index.find(r.Context(), id)
	if err != nil {
		return problem(err)
	}
	admin.Answer(w, status, shown(one, l.verdictOf(r.Context(), one)))
	return nil
}

func (l *Lot) replayMany(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Filter struct {
			Group  *string `json:"group"`
			Class  *string `json:"class"`
			UserID *string `json:"userId"`
		} `json:"filter"`
		DryRun        bool `json:"dryRun"`
		RatePerSecond *int `json:"ratePerSecond"`
	}
	if err := admin.Decode(r, &body); err != nil {
		return err
	}
	var f faults
	b := bulk{dryRun: body.DryRun, rate: defaultRate, by: admin.Subject(r.Context()), filter: Filter{
		Group: f.group("filter.group", body.Filter.Group), Class: f.class("filter.class", body.Filter.Class),
		UserID: f.user("filter.userId", body.Filter.UserID),
	}}
	if body.RatePerSecond != nil {
		if b.rate = *body.RatePerSecond; b.rate < 1 || b.rate > maxRate {
			f.add("ratePerSecond", "must be 1 to 1000")
		}
	}
	if err := f.err(); err != nil {
		return err
	}
	// It takes as long as it takes; whoever asked can leave, which ends it.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) // a server without deadlines has none to lift
	sum, err := l.replayAll(r.Context(), b)
	if err != nil {
		return problem(err)
	}
	admin.Answer(w, http.StatusOK, sum)
	return nil
}

// shown is a letter as it is told.
func shown(one *letter, verdicts map[string]Verdict) DeadLetter {
	d := DeadLetter{
		ID: one.ID, Group: one.Group, Topic: one.Topic, Partition: one.Partition, Offset: one.Offset, Key: readable(one.Key),
		UserID: one.UserID, Class: one.Class, Error: one.Error, Attempts: one.Attempts,
		FirstFailedAt: one.FirstFailedAt, LastFailedAt: one.LastFailedAt, Status: one.Status,
	}
	if v, ok := verdicts[one.ID]; ok {
		d.Verdict = &v
	}
	return d
}

func readable(b []byte) string { return strings.ToValidUTF8(string(b), "\uFFFD") }

// problem is what a caller learns of an error.
func problem(err error) error {
	switch {
	case errors.Is(err, ErrNotFound):
		return admin.ErrNotFound
	case errors.Is(err, errForeign):
		return &admin.Problem{Slug: "not-replayable", Status: http.StatusConflict, Title: "Not replayable",
			Detail: "The letter was written by a group that isn't one of these consumers: only its own group can do it again."}
	case errors.Is(err, errReplayed):
		return &admin.Problem{Slug: "already-replayed", Status: http.StatusConflict, Title: "Already replayed",
			Detail: "The letter's record was done by a replay: there is nothing left to discard."}
	}
	return err
}
