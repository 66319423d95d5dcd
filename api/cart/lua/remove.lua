-- remove drops a line.

local stored = find(book)
local refused = open(stored[1])
if refused then return refused end
if not stored[2] then return 'line-not-found' end
return remove(stored[2])
