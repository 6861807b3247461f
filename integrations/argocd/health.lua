-- The health of a ModelDeployment for Argo CD. Argo CD runs it with no standard library but `table`, and a second of time.
-- argocd-cm.yaml holds the same text, ready to be patched into Argo CD's settings.
local function answer(status, message)
  return {status = status, message = message}
end

local function sentence(condition)
  return condition.reason .. ": " .. (condition.message or "")
end

local status = obj.status
if status == nil or status.conditions == nil or status.observedGeneration ~= obj.metadata.generation then
  return answer("Progressing", "The operator has not looked at this generation yet.")
end

local conditions = {}
for _, condition in ipairs(status.conditions) do
  conditions[condition.type] = condition
end
local ready, stalled = conditions.Ready, conditions.Stalled

if stalled ~= nil and stalled.status == "True" then
  return answer("Degraded", sentence(stalled))
end
if ready == nil then
  return answer("Progressing", "The operator has not judged it yet.")
end
if ready.status ~= "True" then
  -- held back by a person: nothing will move until they say so
  if ready.reason == "Paused" or ready.reason == "RolloutPaused" or ready.reason == "Pinned" then
    return answer("Suspended", ready.message)
  end
  return answer("Progressing", sentence(ready))
end
if obj.spec.paused then
  return answer("Suspended", "spec.paused is true: what is declared serves, and changes would wait.")
end
return answer("Healthy", ready.message)
