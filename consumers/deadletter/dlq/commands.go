package dlq

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"cartstream/consumers/deadletter"
)

const path = "/admin/dead-letters"

// pageSize is how many letters are asked for at once.
const pageSize = 100

// filter are the flags that mean letters.
type filter struct{ group, class, user string }

func (c *call) filter() *filter {
	f := &filter{}
	c.flags.StringVar(&f.group, "group", "", "letters of this consumer group")
	c.flags.StringVar(&f.class, "class", "", "letters of this class: undecodable, rejected or exhausted")
	c.flags.StringVar(&f.user, "user", "", "letters about this user's cart")
	return f
}

func list(c *call) func(context.Context) error {
	f := c.filter()
	status := c.flags.String("status", "parked", "letters of this status: parked, replayed, superseded, discarded or all")
	limit := c.flags.Int("limit", 50, "at most so many, 0 for all")
	return func(ctx context.Context) error {
		if len(c.args) > 0 || *limit < 0 {
			return usage("list takes flags alone, and a limit of 0 or more")
		}
		q := url.Values{}
		for name, value := range map[string]string{"group": f.group, "class": f.class, "userId": f.user, "status": *status} {
			if value != "" && value != "all" {
				q.Set(name, value)
			}
		}
		letters := []deadletter.DeadLetter{}
		more := true
		for more && (*limit == 0 || len(letters) < *limit) {
			size := pageSize
			if *limit > 0 {
				size = min(size, *limit-len(letters))
			}
			q.Set("limit", strconv.Itoa(size))
			var page deadletter.Page
			ctx, cancel := context.WithTimeout(ctx, patience)
			_, err := c.api.do(ctx, http.MethodGet, path+"?"+q.Encode(), nil, &page)
			cancel()
			if err != nil {
				return err
			}
			letters = append(letters, page.Items...)
			q.Set("cursor", page.NextCursor)
			more = page.NextCursor != ""
		}
		if c.json {
			return c.encode(letters)
		}
		return c.table(letters, more)
	}
}

func show(c *call) func(context.Context) error {
	raw := c.flags.Bool("value", false, "the value alone, byte for byte")
	return func(ctx context.Context) error {
		if len(c.args) != 1 {
			return usage("show takes one id")
		}
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		var whole deadletter.Whole
		at := path + "/" + url.PathEscape(c.args[0])
		if _, err := c.api.do(ctx, http.MethodGet, at, nil, &whole); err != nil {
			return err
		}
		switch {
		case *raw && whole.Value == nil:
			return errors.New("the value is null")
		case *raw:
			_, err := c.out.Write(*whole.Value)
			return err
		}
		var history deadletter.History
		if _, err := c.api.do(ctx, http.MethodGet, at+"/history", nil, &history); err != nil {
			return err
		}
		if c.json {
			return c.encode(struct {
				deadletter.Whole
				History []deadletter.Entry `json:"history"`
			}{whole, history.Items})
		}
		return c.whole(whole, history.Items)
	}
}

func replay(c *call) func(context.Context) error {
	f := c.filter()
	all := c.flags.Bool("all", false, "all parked letters")
	dry := c.flags.Bool("dry-run", false, "only count the letters that the flags mean, by verdict")
	rate := c.flags.Int("rate", 20, "letters a second, 1 to 1000")
	return func(ctx context.Context) error {
		switch filtered := *f != (filter{}); {
		case len(c.args) > 0 && (filtered || *all || *dry):
			return usage("replay takes ids, or flags that mean letters, not both")
		case len(c.args) > 0:
			return c.each(ctx, "/replay", nil, deadletter.Replayed, deadletter.Superseded)
		case !filtered && !*all:
			return usage("replay takes ids, or --group, --class, --user or --all")
		case filtered && *all:
			return usage("--all means all; with other flags it would not")
		}
		meant := map[string]string{}
		for name, value := range map[string]string{"group": f.group, "class": f.class, "userId": f.user} {
			if value != "" {
				meant[name] = value
			}
		}
		var sum deadletter.Summary
		_, err := c.api.do(ctx, http.MethodPost, path+"/replay", map[string]any{"filter": meant, "dryRun": *dry, "ratePerSecond": *rate}, &sum)
		if err != nil {
			return err
		}
		if c.json {
			return c.encode(sum)
		}
		return c.summary(sum, *dry)
	}
}

func discard(c *call) func(context.Context) error {
	reason := c.flags.String("reason", "", "why, for the audit trail: 1 to 1,000 characters")
	return func(ctx context.Context) error {
		if len(c.args) == 0 || *reason == "" {
			return usage("discard takes ids and --reason")
		}
		return c.each(ctx, "/discard", map[string]string{"reason": *reason}, deadletter.Discarded)
	}
}

// each makes the call for every id, and fails at the end where a letter didn't end as it was to.
func (c *call) each(ctx context.Context, what string, body any, ends ...deadletter.Status) error {
	var faults []error
	letters := []deadletter.DeadLetter{}
	for _, id := range c.args {
		var l deadletter.DeadLetter
		ctx, cancel := context.WithTimeout(ctx, patience)
		_, err := c.api.do(ctx, http.MethodPost, path+"/"+url.PathEscape(id)+what, body, &l)
		cancel()
		switch {
		case err != nil:
			faults = append(faults, fmt.Errorf("%s: %w", printable(id), err))
			continue
		case !slices.Contains(ends, l.Status):
			faults = append(faults, fmt.Errorf("%s is %s, after %d attempts: %s", l.ID, l.Status, l.Attempts, printable(l.Error)))
		}
		letters = append(letters, l)
	}
	write := c.table
	if c.json {
		write = func(letters []deadletter.DeadLetter, _ bool) error { return c.encode(letters) }
	}
	if len(letters) > 0 || c.json {
		faults = append(faults, write(letters, false))
	}
	return errors.Join(faults...)
}

func (c *call) encode(v any) error {
	e := json.NewEncoder(c.out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
