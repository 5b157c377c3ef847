// An existing account in the same subscription, with its event topic and consumers.
using '../main.bicep'

param environmentName = 'existing-events'
param location = 'westeurope'
param existingMailStorageId = '/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg-archive/providers/Microsoft.Storage/storageAccounts/starchive'
param existingMailStorageLocation = 'North Europe'
param mailEvents = true
param lockMail = false
param consumers = [
  {
    name: 'crm'
    functionId: '/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg-crm/providers/Microsoft.Web/sites/func-crm/functions/on_result'
    route: 'sales'
  }
  {
    name: 'archive'
    functionId: '/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg-archive/providers/Microsoft.Web/sites/func-archive/functions/on_result'
  }
]
