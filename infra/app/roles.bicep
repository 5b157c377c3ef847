// All role assignments, each with its reason. This module is deployed twice: for the app's resource group and for the
// mail's, which may be another one. A resource whose name is empty gets no assignments.

@description('Object id of the app\'s identity.')
param appPrincipalId string

@description('Object id of an operator, or of a group of operators, who write secrets to the vault and run the command on this storage. Empty: no operator.')
param operatorPrincipalId string = ''

@allowed([
  'User'
  'Group'
  'ServicePrincipal'
])
param operatorPrincipalType string = 'User'

@description('The app\'s own storage account.')
param storageName string = ''
param leaseContainer string = ''
param vaultName string = ''
param insightsName string = ''

@description('The mail\'s storage account.')
param mailStorageName string = ''
param mailContainer string = ''
param mailTables array = []

var blobOwner = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b')
var blobContributor = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'ba92f5b4-2d11-453d-a403-e96b0029c9fe')
var queueContributor = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '974c5e8b-45b9-4653-ba55-5f855dd0fb88')
var tableContributor = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3')
var secretsUser = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4633458b-17de-408a-b874-0445c86b69e6')
var secretsOfficer = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'b86a8fe4-44ce-4948-aee5-eccb2c155cd7')
var metricsPublisher = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '3913510d-42f4-4e42-8a64-420c390055eb')

var appSide = !empty(storageName)
var mailSide = !empty(mailStorageName)
var operator = !empty(operatorPrincipalId)
var operatorTablesHere = operator ? mailTables : []

// If a name is empty, an unused name replaces it, since Azure evaluates names before conditions.
resource storage 'Microsoft.Storage/storageAccounts@2023-05-01' existing = {
  name: appSide ? storageName : 'unused'
}

resource storageBlobs 'Microsoft.Storage/storageAccounts/blobServices@2023-05-01' existing = {
  parent: storage
  name: 'default'
}

resource leases 'Microsoft.Storage/storageAccounts/blobServices/containers@2023-05-01' existing = {
  parent: storageBlobs
  name: appSide ? leaseContainer : 'unused'
}

resource vault 'Microsoft.KeyVault/vaults@2023-07-01' existing = {
  name: appSide ? vaultName : 'unused'
}

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: appSide ? insightsName : 'unused'
}

resource mailStorage 'Microsoft.Storage/storageAccounts@2023-05-01' existing = {
  name: mailSide ? mailStorageName : 'unused'
}

resource mailBlobs 'Microsoft.Storage/storageAccounts/blobServices@2023-05-01' existing = {
  parent: mailStorage
  name: 'default'
}

resource mail 'Microsoft.Storage/storageAccounts/blobServices/containers@2023-05-01' existing = {
  parent: mailBlobs
  name: mailSide ? mailContainer : 'unused'
}

resource mailTableService 'Microsoft.Storage/storageAccounts/tableServices@2023-05-01' existing = {
  parent: mailStorage
  name: 'default'
}

resource tables 'Microsoft.Storage/storageAccounts/tableServices/tables@2023-05-01' existing = [for table in mailTables: {
  parent: mailTableService
  name: table
}]

// For the host: locks of timers, keys and the package. It creates containers when it needs them, so that the role covers
// the whole account. Apart from these, the account has only the leases.
resource appOwnBlobs 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (appSide) {
  name: guid(storage.id, appPrincipalId, blobOwner)
  scope: storage
  properties: {
    roleDefinitionId: blobOwner
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}

// For the functions' queues: the host receives and deletes messages and creates poison queues. The app sends messages and
// reads the queues' lengths.
resource appQueues 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (appSide) {
  name: guid(storage.id, appPrincipalId, queueContributor)
  scope: storage
  properties: {
    roleDefinitionId: queueContributor
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}

// For the host's diagnostic events: if an app does not start, a table in its own account has the reason.
resource appOwnTables 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (appSide) {
  name: guid(storage.id, appPrincipalId, tableContributor)
  scope: storage
  properties: {
    roleDefinitionId: tableContributor
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}

// For references in the app settings. The role reads secrets; it neither lists nor writes them.
resource appSecrets 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (appSide) {
  name: guid(vault.id, appPrincipalId, secretsUser)
  scope: vault
  properties: {
    roleDefinitionId: secretsUser
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}

// For telemetry with tokens, since keys are off.
resource appTelemetry 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (appSide) {
  name: guid(insights.id, appPrincipalId, metricsPublisher)
  scope: insights
  properties: {
    roleDefinitionId: metricsPublisher
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}

// For messages, results and records: written, read for routing, and deleted when they are erased. Only this container.
resource appMail 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (mailSide) {
  name: guid(mail.id, appPrincipalId, blobContributor)
  scope: mail
  properties: {
    roleDefinitionId: blobContributor
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}

// For receipts, claims and similar records, table by table, since the account may have other tables.
resource appTables 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for (table, number) in mailTables: {
  name: guid(mailStorage.id, table, appPrincipalId, tableContributor)
  scope: tables[number]
  properties: {
    roleDefinitionId: tableContributor
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
  }
}]

// For operators: they write and change the mailboxes' secrets.
resource operatorSecrets 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (appSide && operator) {
  name: guid(vault.id, operatorPrincipalId, secretsOfficer)
  scope: vault
  properties: {
    roleDefinitionId: secretsOfficer
    principalId: operatorPrincipalId
    principalType: operatorPrincipalType
  }
}

// For mailroom replay, which sends route requests, and mailroom status, which reads the queues' lengths.
resource operatorQueues 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (appSide && operator) {
  name: guid(storage.id, operatorPrincipalId, queueContributor)
  scope: storage
  properties: {
    roleDefinitionId: queueContributor
    principalId: operatorPrincipalId
    principalType: operatorPrincipalType
  }
}

// For mailroom run-once, which holds a mailbox's lease so that the app does not drain the same mailbox.
resource operatorLeases 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (appSide && operator) {
  name: guid(leases.id, operatorPrincipalId, blobContributor)
  scope: leases
  properties: {
    roleDefinitionId: blobContributor
    principalId: operatorPrincipalId
    principalType: operatorPrincipalType
  }
}

// For mailroom find, which reads messages, mailroom forget, which deletes them, and for writing config/routes.json.
resource operatorMail 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (mailSide && operator) {
  name: guid(mail.id, operatorPrincipalId, blobContributor)
  scope: mail
  properties: {
    roleDefinitionId: blobContributor
    principalId: operatorPrincipalId
    principalType: operatorPrincipalType
  }
}

// For mailroom status, find, enable and forget, which read and change records of mailboxes and messages.
resource operatorTables 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for (table, number) in operatorTablesHere: {
  name: guid(mailStorage.id, table, operatorPrincipalId, tableContributor)
  scope: tables[number]
  properties: {
    roleDefinitionId: tableContributor
    principalId: operatorPrincipalId
    principalType: operatorPrincipalType
  }
}]
